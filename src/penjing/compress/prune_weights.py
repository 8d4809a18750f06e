"""Set the smallest weights to zero, wherever they are, and train the others around them (Han et al. 2015).

Zeros make a file that is compressed smaller. They make nothing faster here: onnxruntime and OpenVINO multiply by them
like by any other number. A step that trains after this one fills them again, so it comes last of those that do.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.recover import RecoveringConfig, own_encoder, read_if_needed, recover
from penjing.compress.step import Changed, Material, Method, needs_layers
from penjing.core.events import Event, Notice
from penjing.models.encoder import Encoder, WordEmbedding

NAME = "prune-weights"


class PruneWeightsConfig(RecoveringConfig):
    """How many weights become zero, and how the rest learns to do without."""

    method: Literal["prune-weights"] = "prune-weights"
    sparsity: float = Field(0.5, gt=0, lt=1, description="Share of the weights that becomes zero.")
    embeddings: bool = Field(
        False, description="Whether the vocabulary's vectors count among them; their zeros are not trained around."
    )
    rounds: int = Field(
        3, ge=1, le=20, description="Steps in which the share is reached, most of it early (cubic); 1: at once."
    )


def prune(config: PruneWeightsConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Zero weights and recover; see `Method.torch`.

    Args:
        config: how many.
        model: with an encoder of ours.
        material: of the step.

    Yields:
        Progress and notices.

    Returns:
        The model with zeros.
    """
    weights = _prunable(own_encoder(model, NAME), embeddings=config.embeddings)
    bytes_before, zlib_before = _sizes(model)
    facts: dict[str, Any] = {}
    lessons = yield from read_if_needed(material, config.epochs)
    for number in range(config.rounds):
        # Zhu & Gupta 2017, equation 1: fast while there is much to choose from, slow towards the end.
        share = config.sparsity * (1 - (1 - (number + 1) / config.rounds) ** 3)
        hooks = zero_smallest(weights, share)
        try:
            model = yield from recover(
                model,
                material,
                lessons,
                facts,
                epochs=config.epochs,
                learning_rate=config.learning_rate,
                part=number,
                parts=config.rounds,
            )
        finally:
            for hook in hooks:
                hook.remove()
    reached = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
    yield Notice(
        "compress", f"{reached:.0%} of the weights are zero: a compressed file is smaller, and no prediction is faster"
    )
    facts |= {
        "sparsity": reached,
        "weight_bytes": bytes_before,
        "zlib_bytes": _sizes(model)[1],
        "zlib_bytes_before": zlib_before,
        "faster": False,  # dense kernels multiply by zeros, too
    }
    return Changed(model, material.task, facts)


def _prunable(encoder: Encoder, *, embeddings: bool) -> list[nn.Parameter]:
    """Matrices of the encoder's products and, where wanted, the vocabulary."""
    kinds = (nn.Linear, WordEmbedding) if embeddings else nn.Linear
    return [module.weight for module in encoder.modules() if isinstance(module, kinds)]


@torch.no_grad()
def zero_smallest(weights: list[nn.Parameter], share: float) -> list[torch.utils.hooks.RemovableHandle]:
    """Zero this share of all weights together, and hold the zeros until the hooks are removed.

    A weight of zero without a gradient stays zero: moments, decay, averages and 16-bit copies of it are zero, too.
    """
    values = torch.cat([weight.abs().float().flatten().cpu() for weight in weights]).numpy()
    count = max(1, round(share * len(values)))
    values.partition(count - 1)  # in place; torch's `kthvalue` would take thrice the memory
    greatest = float(values[count - 1])
    hooks = []
    for weight in weights:
        dropped = weight.abs().float() <= greatest
        weight.masked_fill_(dropped, 0)
        if weight.requires_grad:
            hooks.append(weight.register_hook(_zeroing(dropped)))
    return hooks


def _zeroing(dropped: Tensor):  # noqa: ANN202 - a hook
    def hook(gradient: Tensor) -> Tensor:
        # Not a product with a mask: a gradient that overflowed in 16 bits would make it not a number.
        return gradient.masked_fill(dropped.to(gradient.device), 0)

    return hook


def _sizes(model: nn.Module) -> tuple[int, int]:
    """Bytes of all weights, as they are and as zlib packs them."""
    packer = zlib.compressobj()
    plain = packed = 0
    for value in model.state_dict().values():
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        plain += content.nbytes
        packed += len(packer.compress(content))
    return plain, packed + len(packer.flush())


METHOD = Method(PruneWeightsConfig, needs_layers, torch=prune)
