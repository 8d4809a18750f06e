"""Write matrices of the encoder as two narrow ones each, where that takes fewer weights.

What is kept is not the matrix but what it does to the texts: the principal components of its outputs over training
rows. That is the best of its rank there is for these inputs (Yuan et al. 2023, Wang et al. 2024, who whiten the inputs
by their covariance, come to the same product), and the bias takes over the mean of what is lost.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.moments import Moments, measure_moments
from penjing.compress.recover import RecoveringConfig, decided, own_encoder, read_if_needed, recover
from penjing.compress.step import Changed, Material, Method, needs_layers
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice
from penjing.models.encoder import PRODUCTS, Encoder, WordEmbedding

NAME = "low-rank"
RIDGE = 1e-3  # of the mean variance: directions that these rows happen not to have are not worth nothing
MULTIPLE = 8  # ranks are of it: so many numbers of 32 bits fill a vector register of AVX2
_PARTS = {"all": PRODUCTS, "attention": PRODUCTS[:2], "feed-forward": PRODUCTS[2:], "none": ()}


class LowRankConfig(RecoveringConfig):
    """Which matrices are factored, to which ranks, and how the model learns to do with them."""

    method: Literal["low-rank"] = "low-rank"
    products: Literal["all", "attention", "feed-forward", "none"] = Field(
        "all", description="Products of the layers that may be factored."
    )
    embeddings: bool = Field(False, description="Whether the vocabulary's vectors are factored, too.")
    by: Literal["energy", "ratio"] = Field(
        "ratio",
        description="What keep is a share of. energy: the variance of each product's outputs; ratio: its weights.",
    )
    keep: float = Field(0.5, gt=0, lt=1, description="How much of it is kept.")
    weighted: bool = Field(True, description="Look at what enters the products, or else at the matrices alone.")
    rows: int = Field(512, ge=1, description="Training rows that are looked at, at most.")


@dataclass(frozen=True)
class Components:
    """Of the outputs of a matrix [O, I], in descending order.

    Args:
        basis_OK: orthonormal columns; the matrix is this times its transpose times the matrix.
        energy_K: what each component holds.
        num_in: I.
    """

    basis_OK: Tensor
    energy_K: Tensor
    num_in: int

    def rank(self, by: str, keep: float) -> int | None:
        """The rank that keeps a share of energy or of weights; None where two factors are no fewer weights than one."""
        num_out, num_in = len(self.basis_OK), self.num_in
        if by == "energy":
            share_K = self.energy_K.cumsum(0) / self.energy_K.sum().clamp(min=torch.finfo(torch.double).tiny)
            rank = 1 + int((share_K < keep).sum())
        else:
            rank = math.ceil(keep * num_out * num_in / (num_out + num_in))
        rank = MULTIPLE * math.ceil(rank / MULTIPLE)
        return rank if rank <= len(self.energy_K) and rank * (num_out + num_in) < num_out * num_in else None


def product_components(weight_OI: Tensor, covariance_II: Tensor | None = None) -> Components:
    """Of a product's outputs.

    Args:
        weight_OI: its matrix.
        covariance_II: of its inputs; None: as if they were independent and alike.
    """
    weight_OI = weight_OI.detach().double().cpu()
    weighted_OI = weight_OI
    if covariance_II is not None:
        values_I, vectors_II = torch.linalg.eigh(covariance_II.double())
        weighted_OI = weight_OI @ (vectors_II * (values_I.clamp(min=0) + RIDGE * values_I.mean()).sqrt())
    basis_OK, singular_K, _ = torch.linalg.svd(weighted_OI, full_matrices=False)
    return Components(basis_OK.float(), singular_K.square(), weight_OI.shape[1])


def word_components(table_VH: Tensor, counts_V: Tensor) -> Components:
    """Of the vocabulary as a matrix [H, V], each vector weighing as often as it occurs and once more."""
    total_HH = torch.zeros(table_VH.shape[1], table_VH.shape[1], dtype=torch.double)
    for rows, counts in zip(table_VH.detach().split(4096), counts_V.split(4096), strict=True):
        total_HH += (rows.float().T @ (rows.float() * (1 + counts[:, None]))).double()
    energy_K, basis_HK = torch.linalg.eigh(total_HH)
    return Components(basis_HK.flip(1).float(), energy_K.flip(0).clamp(min=0), len(table_VH))


def reduce_rank(config: LowRankConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Factor and recover; see `Method.torch`.

    Args:
        config: what, and how far.
        model: with an encoder of ours.
        material: of the step.

    Yields:
        Progress and notices.

    Returns:
        The model with fewer weights.

    Raises:
        CapabilityError: nothing would become smaller.
    """
    encoder = own_encoder(model, NAME)
    before = sum(parameter.numel() for parameter in model.parameters())
    products = {
        f"layers.{index}.{name}": getattr(layer, name)
        for index, layer in enumerate(encoder.layers)
        for name in _PARTS[config.products]
        if isinstance(getattr(layer, name), nn.Linear)
    }
    model = model.to(material.runtime.device).eval()
    moments: dict[str, Moments] = {}
    counts_V = torch.zeros(encoder.config.vocab_size, dtype=torch.long)
    if config.weighted:
        moments, counts_V = yield from measure_moments(model, products, material, config.rows)
    model.cpu()
    found = {
        name: product_components(product.weight, moments[name].covariance() if config.weighted else None)
        for name, product in products.items()
    }
    if config.embeddings and isinstance(encoder.words, WordEmbedding):
        found["words"] = word_components(encoder.words.weight, counts_V)
    choosing = _choose(config, found)
    ranks: dict[str, int] = yield from decided(material.work / "ranks.json", material.identity, choosing)
    if not ranks:
        raise CapabilityError(
            f"to keep {config.keep:g} of the {config.by}, no matrix is of a rank that takes fewer weights",
            where=f"compress.{NAME}.keep",
            next_step="lower it",
        )
    bases = {name: found[name].basis_OK[:, :rank] for name, rank in ranks.items()}
    model.encoder = factored(encoder, bases, {name: inputs.mean() for name, inputs in moments.items()})
    after = sum(parameter.numel() for parameter in model.parameters())
    yield Notice(
        "compress", f"{len(ranks)} of {len(found)} matrices factored: {after:,} of {before:,} weights are left"
    )
    lessons = yield from read_if_needed(material, config.epochs)
    facts = {"ranks": ranks, "parameters": after, "parameters_before": before}
    model = yield from recover(
        model, material, lessons, facts, epochs=config.epochs, learning_rate=config.learning_rate
    )
    return Changed(model, material.task, facts)


def _choose(config: LowRankConfig, found: dict[str, Components]) -> Generator[Event, None, dict[str, int]]:
    """Module → rank, where one is worth it."""
    yield from ()  # a matter of a moment
    ranks = {name: components.rank(config.by, config.keep) for name, components in found.items()}
    return {name: rank for name, rank in ranks.items() if rank is not None}


@torch.no_grad()
def factored(encoder: Encoder, bases: dict[str, Tensor], means: dict[str, Tensor]) -> Encoder:
    """The same encoder with two factors where there is a basis.

    Args:
        encoder: not changed; other tensors are shared.
        bases: module → [O, R] components that its outputs keep.
        means: [I] of the inputs, where known: the bias then gives what the lost components give on average.
    """
    state: dict[str, Any] = dict(encoder.state_dict())
    for name, basis_OR in bases.items():
        weight = state.pop(f"{name}.weight")
        if name == "words":
            state["words.table.weight"] = (weight.float() @ basis_OR).to(weight.dtype)
            state["words.widen.weight"] = basis_OR.contiguous()
            continue
        first_RI, bias_O = basis_OR.T @ weight, state.pop(f"{name}.bias")
        if name in means:
            bias_O = bias_O + (weight - basis_OR @ first_RI) @ means[name]
        state[f"{name}.first.weight"] = first_RI
        state |= {f"{name}.second.weight": basis_OR.contiguous(), f"{name}.second.bias": bias_O}
    ranks = {name: basis_OR.shape[1] for name, basis_OR in bases.items()}
    with torch.device("meta"):  # no memory for weights that are about to be replaced
        narrow = Encoder(
            replace(encoder.config, ranks={**(encoder.config.ranks or {}), **ranks}), encoder.drop.probability
        )
    narrow.load_state_dict(state, assign=True)
    narrow.checkpointing = encoder.checkpointing
    return narrow.train(encoder.training)


METHOD = Method(LowRankConfig, needs_layers, torch=reduce_rank)
