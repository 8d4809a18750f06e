"""Explicit tables from a name to the place that implements it, resolved lazily.

A stage never imports a task; it asks here. Third parties add a row through the entry-point group
``penjing.tasks`` (or ``penjing.stages``, ``penjing.backends``); there are no decorators, and a recipe can only
name what is in a table, never a dotted path.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from penjing.core.errors import RecipeError, closest

TASKS: Mapping[str, str] = {
    "text-classification": "penjing.tasks.text_classification:TextClassification",
    "text-regression": "penjing.tasks.text_regression:TextRegression",
    "text-pair": "penjing.tasks.text_pair:TextPair",
    "token-classification": "penjing.tasks.token_classification:TokenClassification",
    "tabular-classification": "penjing.tasks.tabular:TabularClassification",
    "tabular-regression": "penjing.tasks.tabular:TabularRegression",
}

# The Config of each stage that a recipe may hold, in the order the stages run.
STAGES: Mapping[str, str] = {
    "data": "penjing.data.config:DataConfig",
    "select": "penjing.select.config:SelectConfig",
    "train": "penjing.train.config:TrainConfig",
    "evaluate": "penjing.evaluate.config:EvaluateConfig",
    "export": "penjing.export.config:ExportConfig",
    "compress": "penjing.compress.config:CompressConfig",
}

BACKENDS: Mapping[str, str] = {
    "onnxruntime": "penjing.predict.onnx_backend:OnnxBackend",
    "openvino": "penjing.predict.openvino_backend:OpenVinoBackend",
    "torch": "penjing.train.torch_backend:TorchBackend",
}

# Ways to make a model smaller or faster; each a `penjing.compress.step:Method`.
COMPRESSORS: Mapping[str, str] = {
    "vocabulary": "penjing.compress.prune_vocabulary:METHOD",
    "distil": "penjing.compress.teach:METHOD",
    "prune-structure": "penjing.compress.prune_structure:METHOD",
    "prune-weights": "penjing.compress.prune_weights:METHOD",
    "low-rank": "penjing.compress.low_rank:METHOD",
    "quantization-aware": "penjing.compress.quantization_aware:METHOD",
    "dynamic-int8": "penjing.compress.dynamic_int8:METHOD",
    "static-int8": "penjing.compress.static_int8:METHOD",
    "int4": "penjing.compress.int4:METHOD",
    "half": "penjing.compress.half:METHOD",
    "cascade": "penjing.compress.cascade:METHOD",
    "pack": "penjing.compress.pack:METHOD",
}

_TABLES: Mapping[str, Mapping[str, str]] = {
    "tasks": TASKS,
    "stages": STAGES,
    "backends": BACKENDS,
    "compressors": COMPRESSORS,
}


@cache
def table(kind: str) -> dict[str, str]:
    """All rows of one table, entry points included: name → "module:attr"."""
    rows = dict(_TABLES[kind])
    for entry in entry_points(group=f"penjing.{kind}"):
        rows.setdefault(entry.name, entry.value)
    return rows


def load(target: str) -> Any:
    """Import "module:attr" and return the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def resolve(kind: str, name: str) -> Any:
    """The object registered under a name.

    Raises:
        RecipeError: no such name; the message carries the closest match.
    """
    rows = table(kind)
    if name not in rows:
        near = closest(name, rows)
        raise RecipeError(
            f"unknown {kind.rstrip('s')} {name!r}",
            expected="one of " + ", ".join(sorted(rows)),
            next_step=f"did you mean {near!r}?" if near else None,
        )
    return load(rows[name])
