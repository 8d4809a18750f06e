"""The step that leaves out the pieces of a vocabulary that a company's texts do not use.

Where the texts use kept pieces alone, the model answers as before, to the bit: it comes first in a chain, and what it
gives is the teacher of the steps behind it.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from penjing.compress.lessons import IDS, MASK
from penjing.compress.step import Changed, Material, Method, StepConfig, needs_layers
from penjing.compress.vocabulary import prune_vocabulary
from penjing.core.artifact import write_atomic
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Progress
from penjing.core.task import Row, Task
from penjing.models.encoder import Encoder

_ROWS = 512


class VocabularyConfig(StepConfig):
    """Which pieces stay, beside special ones and single characters of the scripts met."""

    method: Literal["vocabulary"] = "vocabulary"
    least: int = Field(1, ge=1, le=1000, description="Times that a piece occurs in the training and unlabelled rows.")


def apply(config: VocabularyConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Count, prune, and slice the vectors.

    Yields:
        Progress.

    Returns:
        The model with fewer vectors, and the task with the smaller tokenizer.

    Raises:
        CapabilityError: not one of our encoders, or a tokenizer of another kind.
    """
    encoder, task = model.encoder, material.task
    if not isinstance(encoder, Encoder):
        raise CapabilityError("only the vocabulary of a BERT encoder can be pruned", where="compress.vocabulary")
    counts = np.zeros(encoder.config.vocab_size, np.int64)
    rows = [*material.splits.train.rows, *material.unlabelled]
    for done, ids in _token_ids(task, rows):
        counts += np.bincount(ids, minlength=len(counts))
        yield Progress("compress", done, len(rows), "rows", "counting the pieces in use")
    before = task.files()["tokenizer.json"]
    pruned = prune_vocabulary(before, np.flatnonzero(counts >= config.least).tolist())
    material.work.mkdir(parents=True, exist_ok=True)
    target = material.work / "tokenizer.json"
    write_atomic(target, json.dumps(pruned.values, ensure_ascii=False))
    kept = torch.from_numpy(pruned.kept)
    if int(kept.max()) >= encoder.config.vocab_size:
        raise CapabilityError(
            f"the tokenizer has pieces up to {int(kept.max())}, the model {encoder.config.vocab_size} vectors",
            where="compress.vocabulary",
        )
    table = encoder.table
    table.weight = nn.Parameter(table.weight.detach()[kept].clone())
    table.num_embeddings = len(kept)
    encoder.config = replace(encoder.config, vocab_size=len(kept))
    _cut_positions(encoder, task.input.settings.max_length)  # type: ignore[attr-defined]
    ngrams = getattr(model, "ngrams", None)
    if ngrams is not None:
        ngrams.old_ids = kept if ngrams.old_ids is None else ngrams.old_ids[kept]
    facts = {
        "pieces": len(kept),
        "pieces_before": len(counts),
        "tokenizer_bytes": target.stat().st_size,
        "tokenizer_bytes_before": before.stat().st_size,
    }
    return Changed(model, replace(task, input=task.input.with_tokenizer(target)), facts)  # type: ignore[attr-defined,type-var]


def _cut_positions(encoder: Encoder, longest: int) -> None:
    """Leave out the vectors of places that no text reaches."""
    places = encoder.positions
    if longest < places.num_embeddings:
        places.weight = nn.Parameter(places.weight.detach()[:longest].clone())
        places.num_embeddings = longest
        encoder.config = replace(encoder.config, max_position_embeddings=longest)


def _token_ids(task: Task, rows: list[Row]) -> Iterable[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), _ROWS):
        batch = task.encode(rows[start : start + _ROWS])
        yield min(start + _ROWS, len(rows)), batch[IDS][batch[MASK] > 0]


METHOD = Method(VocabularyConfig, needs_layers, torch=apply)
