"""How much each attention head and each feed-forward neuron matters: by how much the loss would change without it.

To first order that is the activation times the gradient of the loss, summed over what is removed together: a head's
width and a row's tokens. Magnitudes are summed over rows (Michel et al. 2019, equation 3; Molchanov et al. 2019). The
loss is that of the labels; a distillation loss would tell nothing, for its gradient is zero as long as the student
still equals its teacher.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from penjing.compress.recover import sample_batches
from penjing.compress.step import Material
from penjing.core import registry
from penjing.core.events import Progress
from penjing.models.encoder import Encoder
from penjing.train.gradient.sequence import SequenceModel

SMOOTHING = 0.1  # of the labels, as `train.label_smoothing`


@dataclass(frozen=True)
class Importance:
    """What removing each part would cost, in units of the summed loss: comparable between layers.

    Args:
        heads: a layer [N].
        neurons: a layer [F].
    """

    heads: list[Tensor]
    neurons: list[Tensor]


def measure_importance(
    model: nn.Module, encoder: Encoder, material: Material, num_rows: int
) -> Generator[Progress, None, Importance]:
    """Look at some training rows.

    Args:
        model: in evaluation mode, on the material's device.
        encoder: the model's.
        material: rows and their loss.
        num_rows: how many rows, at most.

    Yields:
        Progress.

    Returns:
        What each head and neuron is worth.
    """
    total = min(num_rows, len(material.splits.train))
    found = Importance(
        [torch.zeros(layer.num_heads) for layer in encoder.layers],
        [torch.zeros(layer.down.in_features) for layer in encoder.layers],
    )
    # What enters the last product of attention is all heads side by side, and that of the other part all neurons.
    watched = [module for layer in encoder.layers for module in (layer.attention_out, layer.down)]
    entered: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0])) for module in watched]
    try:
        for done, batch in sample_batches(material, num_rows):
            entered.clear()
            slopes = torch.autograd.grad(_loss(model, material, batch), entered)
            effects = [(there * slope).detach().float().cpu() for there, slope in zip(entered, slopes, strict=True)]
            for place, layer in enumerate(encoder.layers):
                mixed_BLA, neurons_BLF = effects[2 * place : 2 * place + 2]
                found.heads[place].add_(mixed_BLA.unflatten(2, (layer.num_heads, -1)).sum((1, 3)).abs().sum(0))
                found.neurons[place].add_(neurons_BLF.sum(1).abs().sum(0))
            yield Progress("compress", done, total, "rows", "what each head and neuron is worth")
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _loss(model: nn.Module, material: Material, batch: dict[str, Tensor]) -> Tensor:
    """The loss of the labels, summed over the rows."""
    if isinstance(model, SequenceModel):
        # Smoothed, or rows that the model is sure of would have next to no gradient, and hardly count.
        objective = replace(material.objective, label_smoothing=max(SMOOTHING, material.objective.label_smoothing))
        return objective.per_row(model(batch)["logits"], batch["targets"]).sum()
    return registry.load(material.task.trainer)().loss(model, batch)[0]
