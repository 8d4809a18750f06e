"""8-bit products whose activations are scaled by what was seen on training rows: as exact on one row as on many.

Where the answers come out too different, the products that cost most stay in 32 bits (`fallback.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from penjing.compress.rewriting import nothing_to_change, reference, require_onnx, sizes
from penjing.compress.step import Material, Method, StepConfig, needs_layers
from penjing.compress.tolerance import Tolerance, kept_field, max_field, mean_field
from penjing.core.events import Event, Progress

if TYPE_CHECKING:
    from penjing.compress.graph_file import Product
    from penjing.compress.ranges import Ranges


class StaticInt8Config(StepConfig):
    """Settings of `static-int8`."""

    method: Literal["static-int8"] = "static-int8"
    rows: int = Field(300, ge=1, le=10_000, description="Training rows that activations are watched on.")
    calibration: Literal["minmax", "percentile", "entropy"] = Field(
        "minmax", description="How far 8 bits reach: over all values seen, all but the outermost, or by distribution."
    )
    percentile: float = Field(
        99.99, ge=90, le=100, description="Share of the values that 8 bits reach over, in percent; for `percentile`."
    )
    exclude: tuple[str, ...] = Field((), description="Parts of names of operators that stay in 32 bits.")
    embeddings: bool = Field(True, description="Store the vocabulary's vectors in 8 bits as well.")
    mean_tolerance: float = mean_field(0.01)
    max_tolerance: float = max_field(0.2)
    keep_at_most: int = kept_field(8, 32)
    rest: Literal["fp32", "fp16"] = Field(
        "fp32", description="How weights that are not rounded to 8 bits are stored; they are computed with in 32 bits."
    )


# What searches begin with: validation says what it costs, and which products to spare takes long to find out.
ALL_PRODUCTS = StaticInt8Config(keep_at_most=0, rest="fp16")
SOME_SPARED = StaticInt8Config(rest="fp16")


def apply(
    config: StaticInt8Config, source: Path, target: Path, material: Material
) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""
    require_onnx()
    from penjing.compress.fallback import hold
    from penjing.compress.graph_file import Graph
    from penjing.compress.half_weights import halve
    from penjing.compress.int8_products import insert_static

    with TemporaryDirectory(dir=target.parent, prefix="int8-") as directory:
        prepared, trial = Path(directory) / "prepared.onnx", Path(directory) / "trial.onnx"
        prepared_facts, products = _prepare(config, source, prepared)
        if not products and not prepared_facts["tables"]:
            raise nothing_to_change(source)
        # A bag of words is a table and nothing else.
        ranges = (yield from _watched(config, prepared, trial, products, material)) if products else {}

        def write(path: Path, kept: Sequence[Product], *, switches: bool = False) -> None:
            graph = Graph.read(prepared)
            insert_static(graph, [one for one in products if one not in kept], ranges, switches=switches)
            if config.rest == "fp16" and not switches:
                halve(graph, "fp16")
            graph.write(path)

        tolerance = Tolerance(config.mean_tolerance, config.max_tolerance, config.keep_at_most)
        expected = reference(source, material)
        found = yield from hold(write, target, trial, products, expected, tolerance, bits=8, kept_bits=32)
    return {**sizes(source, target), "precision": "int8", **found, **prepared_facts}


def _prepare(config: StaticInt8Config, source: Path, prepared: Path) -> tuple[dict[str, Any], list[Product]]:
    """Write the model that the products are quantized in; return facts of it, and the products."""
    from penjing.compress.graph_file import Graph
    from penjing.compress.int8_table import quantize_tables

    graph = Graph.read(source)
    tables = quantize_tables(graph) if config.embeddings else []
    graph.write(prepared)
    products = [p for p in graph.inner_products() if not any(part in p.name for part in config.exclude)]
    return {"tables": len(tables)}, products


def _watched(
    config: StaticInt8Config, prepared: Path, trial: Path, products: Sequence[Product], material: Material
) -> Generator[Event, None, Ranges]:
    """Run the training rows."""
    from penjing.compress.drift import feeds, sample
    from penjing.compress.graph_file import Graph
    from penjing.compress.ranges import find_ranges, watch

    names = list(dict.fromkeys(product.activations for product in products))
    graph = Graph.read(prepared)
    watch(graph, names)
    graph.write(trial)
    del graph  # as large as the file
    batches = feeds(material.task, sample(material.splits.train, config.rows, material.seed))
    for found in find_ranges(
        trial,
        names,
        batches,
        threads=material.runtime.threads,
        calibration=config.calibration,
        percentile=config.percentile,
    ):
        if not isinstance(found, Progress):
            return found
        yield found
    raise AssertionError("the ranges come last")


METHOD = Method(StaticInt8Config, needs_layers, graph=apply)
