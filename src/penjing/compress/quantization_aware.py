"""Train with the rounding of int8 in place, so that the weights come to lie where rounding costs least.

What is left is an ordinary model in 32 bits; a static int8 step that follows rounds it with less loss.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.fake_quantized import insert, remove
from penjing.compress.recover import own_encoder, recover, sample_batches
from penjing.compress.step import Changed, Material, Method, StepConfig, needs_layers
from penjing.core.events import Event, Notice, Progress

NAME = "quantization-aware"


class QuantizationAwareConfig(StepConfig):
    """How the model learns to be rounded."""

    method: Literal["quantization-aware"] = "quantization-aware"
    weight_bits: Literal[7, 8] = Field(
        7, description="Bits of a weight: 7 for kernels that add pairs of products in 16 bits, which 8 would overflow."
    )
    rows: int = Field(256, ge=1, description="Training rows that tell the ranges of inputs, at most.")
    epochs: float = Field(2.0, gt=0, le=1000, description="Passes over the lessons.")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak learning rate.")


def train_rounded(
    config: QuantizationAwareConfig, model: nn.Module, material: Material
) -> Generator[Event, None, Changed]:
    """Train with rounding; see `Method.torch`.

    Args:
        config: how.
        model: with an encoder of ours.
        material: of the step.

    Yields:
        Progress and notices.

    Returns:
        The model without rounding, and how far rounding moves its outputs from what they were.
    """
    own_encoder(model, NAME)
    wanted = _outputs(model, material, config.rows)
    yield from _insert_calibrated(config, model, material)
    before = _difference(_outputs(model, material, config.rows), wanted)
    facts: dict[str, Any] = {}
    lessons = yield from material.read_lessons(material.task)
    # Not from labels: nothing is to be said otherwise than before. And in 32 bits: the 8 of bf16 round more coarsely
    # than the rounding that is to be learned, and the model came out worse than it went in.
    model = yield from recover(
        model,
        material,
        lessons,
        facts,
        epochs=config.epochs,
        learning_rate=config.learning_rate,
        hard_share=0.0,
        precision="fp32",
    )
    remove(model)
    yield from _insert_calibrated(config, model, material)  # as the static step will find them
    after = _difference(_outputs(model, material, config.rows), wanted)
    remove(model)
    yield Notice(
        "compress", f"rounding to int8 moved outputs by {before:.2g} on average, and by {after:.2g} after training"
    )
    return Changed(model.cpu(), material.task, {**facts, "moved_before": before, "moved_after": after})


def _insert_calibrated(
    config: QuantizationAwareConfig, model: nn.Module, material: Material
) -> Generator[Progress, None, None]:
    """Put rounding in, its ranges those of some training rows."""
    inserted = insert(model, config.weight_bits)
    model.to(material.runtime.device).eval()
    for module in inserted:
        module.observing = True
    total = min(config.rows, len(material.splits.train))
    for done, batch in sample_batches(material, config.rows):
        with torch.no_grad():
            model(batch)
        yield Progress("compress", done, total, "rows", "ranges of what enters each product")
    for module in inserted:
        module.observing = False


@torch.no_grad()
def _outputs(model: nn.Module, material: Material, num_rows: int) -> list[Tensor]:
    """Logits of some training rows, always the same ones."""
    model.to(material.runtime.device).eval()
    return [model(batch)["logits"].cpu() for _, batch in sample_batches(material, num_rows)]


def _difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Mean distance of two sets of logits."""
    total = sum(float((a - b).abs().sum()) for a, b in zip(found, wanted, strict=True))
    return total / sum(tensor.numel() for tensor in wanted)


METHOD = Method(QuantizationAwareConfig, needs_layers, torch=train_rounded)
