"""Weights in 4 bits, in blocks with a scale each; activations stay as they are.

For size: a processor unpacks the weights at every call, which pays on one row and costs on many.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from penjing.compress.rewriting import rewrite
from penjing.compress.step import Material, Method, StepConfig, needs_layers
from penjing.core.events import Event

if TYPE_CHECKING:
    from penjing.compress.graph_file import Graph


class Int4Config(StepConfig):
    """Settings of `int4`."""

    method: Literal["int4"] = "int4"
    block: Literal[16, 32, 64, 128, 256] = Field(32, description="Weights of a column that share a scale.")
    accuracy_level: Literal[0, 1, 4] = Field(
        0, description="How onnxruntime multiplies: 0 and 1 in 32 bits, 4 in 8 bits (quicker, less exact)."
    )
    embeddings: bool = Field(True, description="Store the vocabulary's vectors in 8 bits.")


def apply(config: Int4Config, source: Path, target: Path, material: Material) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""

    def edit(graph: Graph) -> dict[str, Any]:
        from penjing.compress.int4_products import insert_int4
        from penjing.compress.int8_table import quantize_tables

        tables = quantize_tables(graph) if config.embeddings else []
        graph.split_gemms()
        products = graph.inner_products()
        insert_int4(graph, products, config.block, config.accuracy_level)
        return {"precision": "int4", "operators": len(products), "tables": len(tables)}

    return (yield from rewrite(source, target, material, edit))


METHOD = Method(Int4Config, needs_layers, graph=apply)
