"""8-bit products, whose activations are scaled anew at every call: nothing to calibrate, and quick on one row.

The scale is that of the whole batch, so what a model says of a row depends on the rows beside it.
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


class DynamicInt8Config(StepConfig):
    """Settings of `dynamic-int8`."""

    method: Literal["dynamic-int8"] = "dynamic-int8"
    embeddings: bool = Field(True, description="Store the vocabulary's vectors in 8 bits as well.")


def apply(
    config: DynamicInt8Config, source: Path, target: Path, material: Material
) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""

    def edit(graph: Graph) -> dict[str, Any]:
        from penjing.compress.int8_products import insert_dynamic
        from penjing.compress.int8_table import quantize_tables

        tables = quantize_tables(graph) if config.embeddings else []
        graph.split_gemms()
        products = graph.inner_products()
        insert_dynamic(graph, products)
        return {"precision": "int8", "operators": len(products), "tables": len(tables)}

    return (yield from rewrite(source, target, material, edit))


METHOD = Method(DynamicInt8Config, needs_layers, graph=apply)
