"""Means and covariances of what enters the products of an encoder, over the tokens of some training rows."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from penjing.compress.recover import sample_batches
from penjing.compress.step import Material
from penjing.core.events import Progress


@dataclass
class Moments:
    """Of the inputs of one product, or of other states of tokens.

    Args:
        count: tokens seen.
        sum_I: of their inputs.
        square_II: sum of the inputs' outer products.
    """

    count: int
    sum_I: Tensor
    square_II: Tensor

    @classmethod
    def of_width(cls, width: int, dtype: torch.dtype = torch.float32) -> Moments:
        """Of nothing yet."""
        return cls(0, torch.zeros(width, dtype=dtype), torch.zeros(width, width, dtype=dtype))

    def mean(self) -> Tensor:
        """[I]."""
        return self.sum_I / max(1, self.count)

    def add(self, states_TI: Tensor) -> None:
        """Look at the inputs of some more tokens."""
        self.count += len(states_TI)
        self.sum_I += states_TI.sum(0).cpu()
        self.square_II += (states_TI.T @ states_TI).cpu()

    def covariance(self) -> Tensor:
        """[I, I]."""
        mean_I = self.mean()
        return self.square_II / max(1, self.count) - torch.outer(mean_I, mean_I)


@torch.no_grad()
def measure_moments(
    model: nn.Module, products: dict[str, nn.Linear], material: Material, num_rows: int
) -> Generator[Progress, None, tuple[dict[str, Moments], Tensor]]:
    """Look at some training rows; padding is left out.

    Args:
        model: in evaluation mode, on the material's device.
        products: of its encoder, by name.
        material: gives the rows.
        num_rows: how many rows, at most.

    Yields:
        Progress.

    Returns:
        A product's name → its inputs' moments, and [V] how often each token occurs.
    """
    total = min(num_rows, len(material.splits.train))
    counts_V = torch.zeros(model.encoder.config.vocab_size, dtype=torch.long)
    found = {name: Moments.of_width(product.in_features) for name, product in products.items()}
    real: list[Tensor] = []  # of the present batch: [T] which of all its tokens are no padding
    hooks = [product.register_forward_pre_hook(_adding(found[name], real)) for name, product in products.items()]
    try:
        for done, batch in sample_batches(material, num_rows):
            ids = batch["input_ids"]
            real[:] = [batch.get("attention_mask", torch.ones_like(ids)).flatten().bool()]
            counts_V += torch.bincount(ids.flatten()[real[0]].cpu(), minlength=len(counts_V))
            model(batch)
            yield Progress("compress", done, total, "rows", "what enters each product")
    finally:
        for hook in hooks:
            hook.remove()
    return found, counts_V


def _adding(moments: Moments, real: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        moments.add(inputs[0].flatten(0, -2)[real[0]])

    return hook
