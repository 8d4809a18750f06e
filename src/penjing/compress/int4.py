"""Weights in 4 bits, in blocks with a scale each; activations stay as they are.

Where the answers come out too different, the products that cost most have 8 bits (`fallback.py`).

For size: a processor unpacks the weights at every call, which pays on one row and costs on many.
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


class Int4Config(StepConfig):
    """Settings of `int4`."""

    method: Literal["int4"] = "int4"
    block: Literal[16, 32, 64, 128, 256] = Field(32, description="Weights of a column that share a scale.")
    accuracy_level: Literal[0, 1, 4] = Field(
        0,
        description="How onnxruntime multiplies weights of 4 bits: 0 and 1 in 32 bits, 4 in 8 bits (quicker, less "
        "exact). Those that have 8 bits are always multiplied in 8.",
    )
    embeddings: bool = Field(True, description="Store the vocabulary's vectors in 8 bits.")
    mean_tolerance: float = mean_field(0.05)
    max_tolerance: float = max_field(0.5)
    keep_at_most: int = kept_field(8, 8)


def apply(config: Int4Config, source: Path, target: Path, material: Material) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""
    require_onnx()
    from penjing.compress.fallback import quantize
    from penjing.compress.int4_products import insert_int4

    def insert(graph: Graph, products: Sequence[Product], kept: Sequence[Product], switches: bool) -> None:
        in_8_bits = {product.name for product in kept}
        insert_int4(graph, products, config.block, config.accuracy_level, in_8_bits=in_8_bits, switches=switches)

    tolerance = Tolerance(config.mean_tolerance, config.max_tolerance, config.keep_at_most)
    quantized = quantize(source, target, material, insert, tolerance, embeddings=config.embeddings, bits=4, kept_bits=8)
    return (yield from quantized)


METHOD = Method(Int4Config, needs_layers, graph=apply)
