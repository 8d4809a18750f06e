"""Leave out the attention heads and feed-forward neurons that matter least; what is left is a smaller dense encoder.

In several rounds, with training between them, more can be left out than at once: what remains takes over the work of
what is gone (Sanh et al. 2020). Widths stay multiples of 8, which the kernels compute without a remainder.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from penjing.compress.importance import measure_importance
from penjing.compress.recover import RecoveringConfig, decided, own_encoder, read_if_needed, recover
from penjing.compress.step import Changed, Material, Method, needs_layers
from penjing.compress.student import keep_ngrams
from penjing.core.events import Event, Notice
from penjing.models.encoder import Encoder

NAME = "prune-structure"
BLOCK = 8  # neurons; so many numbers of 32 bits fill a vector register of AVX2


class PruneStructureConfig(RecoveringConfig):
    """How many heads and neurons are kept, and how the rest learns to do without."""

    method: Literal["prune-structure"] = "prune-structure"
    keep_heads: float = Field(
        1.0, gt=0, le=1, description="Share of the attention heads that is kept; every layer keeps one at least."
    )
    keep_neurons: float = Field(
        0.5, gt=0, le=1, description="Share of the feed-forward neurons that is kept, in blocks of 8."
    )
    ranking: Literal["global", "uniform"] = Field(
        "global", description="global: the worst of all layers go; uniform: the same share of every layer."
    )
    rounds: int = Field(1, ge=1, le=20, description="Steps in which the shares are reached, with training after each.")
    rows: int = Field(512, ge=1, description="Training rows that tell what matters, at most.")
    ngrams: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="Features of a linear model over n-grams beside the encoder that stay, the strongest; None: all.",
    )


def prune(config: PruneStructureConfig, model: nn.Module, material: Material) -> Generator[Event, None, Changed]:
    """Remove parts and recover; see `Method.torch`.

    Args:
        config: how much.
        model: with an encoder of ours.
        material: of the step.

    Yields:
        Progress and notices.

    Returns:
        The smaller model.
    """
    encoder = own_encoder(model, NAME)
    heads, neurons = _sizes(encoder)
    before = sum(parameter.numel() for parameter in model.parameters())
    if config.ngrams is not None:
        keep_ngrams(model, model, config.ngrams)
    facts: dict[str, Any] = {}
    lessons = yield from read_if_needed(material, config.epochs)
    for number in range(config.rounds):
        # Equal ratios, so that each round has as hard a task as the others.
        share = (number + 1) / config.rounds
        wanted = (round(sum(heads) * config.keep_heads**share), round(sum(neurons) * config.keep_neurons**share))
        choosing = _choose(model, material, config, wanted)
        place, identity = material.work / f"kept-{number}.json", f"{material.identity} {number}"
        kept_heads, kept_neurons = yield from decided(place, identity, choosing)
        model.encoder = without(model.encoder, kept_heads, kept_neurons)
        left = [sum(map(len, kept)) for kept in (kept_heads, kept_neurons)]
        yield Notice("compress", f"kept {left[0]} of {sum(heads)} heads and {left[1]:,} of {sum(neurons):,} neurons")
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
    after = sum(parameter.numel() for parameter in model.parameters())
    sizes = dict(zip(("layer_heads", "layer_sizes"), _sizes(model.encoder), strict=True))
    return Changed(model, material.task, {**facts, **sizes, "parameters": after, "parameters_before": before})


def _sizes(encoder: Encoder) -> tuple[list[int], list[int]]:
    """Heads and neurons of each layer."""
    return [layer.num_heads for layer in encoder.layers], [layer.down.in_features for layer in encoder.layers]


def _choose(
    model: nn.Module, material: Material, config: PruneStructureConfig, wanted: tuple[int, int]
) -> Generator[Event, None, tuple[list[list[int]], list[list[int]]]]:
    """Places of the heads and neurons that stay, of each layer."""
    sizes = _sizes(model.encoder)
    if wanted == tuple(map(sum, sizes)):  # taught on as it is
        heads, neurons = ([list(range(size)) for size in each] for each in sizes)
        return heads, neurons
    model = model.to(material.runtime.device).eval()
    found = yield from measure_importance(model, model.encoder, material, config.rows)
    across = config.ranking == "global"
    return best(found.heads, wanted[0], 1, across=across), best(found.neurons, wanted[1], BLOCK, across=across)


def best(worth: Sequence[Tensor], wanted: int, block: int, *, across: bool) -> list[list[int]]:
    """Which parts of each layer stay, ascending; at least a block of each layer does.

    Args:
        worth: a layer [P]: of each of its parts.
        wanted: parts in all.
        block: layers keep multiples of this, where they do not keep all.
        across: whether layers compete with one another, or else keep equal shares.
    """
    sizes = [len(layer) for layer in worth]
    if wanted >= sum(sizes):
        return [list(range(size)) for size in sizes]
    orders = [layer.argsort(descending=True, stable=True) for layer in worth]
    if across:
        num_blocks = [1] * len(sizes)
        # The later blocks of a layer are worth less, so whole layers' beginnings are taken whatever the others have.
        values = [
            (float(layer[order][start : start + block].sum()), place)
            for place, (layer, order) in enumerate(zip(worth, orders, strict=True))
            for start in range(block, len(order) - block + 1, block)
        ]
        for _, place in sorted(values, key=lambda value: -value[0])[: max(0, round(wanted / block) - len(sizes))]:
            num_blocks[place] += 1
    else:
        num_blocks = [max(1, round(size * wanted / sum(sizes) / block)) for size in sizes]
    kept = [order[: count * block] for order, count in zip(orders, num_blocks, strict=True)]
    return [sorted(places.tolist()) for places in kept]


def without(encoder: Encoder, heads: list[list[int]], neurons: list[list[int]]) -> Encoder:
    """The same encoder with these heads and neurons of each layer alone, in their order; tensors are shared or cut."""
    config, state = encoder.config, dict(encoder.state_dict())
    for index, layer in enumerate(encoder.layers):
        size = config.head_size
        places = (torch.tensor(heads[index])[:, None] * size + torch.arange(size)).flatten()
        rows = torch.cat([places + part * layer.num_heads * size for part in range(3)])
        chosen = torch.tensor(neurons[index])
        _take(state, f"layers.{index}.qkv", rows, axis=0)
        _take(state, f"layers.{index}.attention_out", places, axis=1)
        _take(state, f"layers.{index}.up", chosen, axis=0)
        _take(state, f"layers.{index}.down", chosen, axis=1)
    with torch.device("meta"):  # no memory for weights that are about to be replaced
        smaller = Encoder(
            replace(config, layer_heads=tuple(map(len, heads)), layer_sizes=tuple(map(len, neurons))),
            encoder.drop.probability,
        )
    smaller.load_state_dict(state, assign=True)
    smaller.checkpointing = encoder.checkpointing
    return smaller.train(encoder.training)


def _take(state: dict[str, Any], name: str, places: Tensor, *, axis: int) -> None:
    """Cut a product, or of a factored one the factor on that side, to some outputs (axis 0) or inputs (axis 1)."""
    if f"{name}.second.weight" in state:
        name += ".second" if axis == 0 else ".first"
    places = places.to(state[f"{name}.weight"].device)
    state[f"{name}.weight"] = state[f"{name}.weight"].index_select(axis, places)
    if axis == 0:
        state[f"{name}.bias"] = state[f"{name}.bias"][places]


METHOD = Method(PruneStructureConfig, needs_layers, torch=prune)
