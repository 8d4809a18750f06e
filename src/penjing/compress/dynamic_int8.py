"""8-bit products, whose activations are scaled anew at every call: nothing to calibrate, and quick on one row.

Where the answers come out too different, the products that cost most stay in 32 bits (`fallback.py`). The scale is that
of the whole batch, so what a model says of a row depends on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from penjing.compress.rewriting import require_onnx
from penjing.compress.step import Material, Method, StepConfig, needs_layers
from penjing.compress.tolerance import Tolerance, kept_field, max_field, mean_field
from penjing.core.events import Event

if TYPE_CHECKING:
    from penjing.compress.graph_file import Graph, Product


class DynamicInt8Config(StepConfig):
    """Settings of `dynamic-int8`."""

    method: Literal["dynamic-int8"] = "dynamic-int8"
    embeddings: bool = Field(True, description="Store the vocabulary's vectors in 8 bits as well.")
    mean_tolerance: float = mean_field(0.01)
    max_tolerance: float = max_field(0.2)
    keep_at_most: int = kept_field(8, 32)


def apply(
    config: DynamicInt8Config, source: Path, target: Path, material: Material
) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""
    require_onnx()
    from penjing.compress.fallback import quantize
    from penjing.compress.int8_products import insert_dynamic

    def insert(graph: Graph, products: Sequence[Product], kept: Sequence[Product], switches: bool) -> None:
        insert_dynamic(graph, [one for one in products if one not in kept], switches=switches)

    tolerance = Tolerance(config.mean_tolerance, config.max_tolerance, config.keep_at_most)
    quantized = quantize(
        source, target, material, insert, tolerance, embeddings=config.embeddings, bits=8, kept_bits=32
    )
    return (yield from quantized)


METHOD = Method(DynamicInt8Config, needs_layers, graph=apply)
