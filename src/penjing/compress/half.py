"""Weights in 16 bits, turned into 32 before they are used: half the file, the same computation.

Tables that rows are looked up in stay in 16 bits in memory as well; other weights are turned once, at loading.
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


class HalfConfig(StepConfig):
    """Settings of `half`."""

    method: Literal["half"] = "half"
    dtype: Literal["fp16", "bf16"] = Field("fp16", description="fp16 rounds less; bf16 has the range of 32 bits.")


def apply(config: HalfConfig, source: Path, target: Path, material: Material) -> Generator[Event, None, dict[str, Any]]:
    """See `GraphStep`."""

    def edit(graph: Graph) -> dict[str, Any]:
        from penjing.compress.half_weights import halve

        halved, left = halve(graph, config.dtype)
        return {"precision": config.dtype, "operators": halved, "left": left}

    return (yield from rewrite(source, target, material, edit))


METHOD = Method(HalfConfig, needs_layers, graph=apply)
