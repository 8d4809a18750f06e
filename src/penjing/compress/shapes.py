"""Which students there are, and what each costs before it has learned anything: weights do not change that."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.compress.student import Shape
from penjing.models.encoder import EncoderConfig

_WIDTHS = (1.0, 2 / 3, 1 / 2, 1 / 3)
_RATIOS = (4, 2)  # feed-forward width over the hidden one


def all_shapes(config: EncoderConfig) -> list[Shape]:
    """Students of an encoder that are smaller than it, by what they compute, the dearest first."""
    depths = [n for n in (1, 2, 3, 4, 6, 8, 12) if n <= config.num_hidden_layers]
    size = config.head_size
    widths = sorted({max(size, round(share * config.hidden_size / size) * size) for share in _WIDTHS})
    found = {
        Shape(layers, hidden, min(ratio * hidden, config.intermediate_size))
        for layers in depths
        for hidden in widths
        for ratio in _RATIOS
    }
    whole = Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size)
    found |= {Shape(0, hidden, 1) for hidden in (config.hidden_size, widths[0])}  # bags of words
    return sorted(found - {whole}, key=lambda shape: (-products(shape), shape.layers))


def products(shape: Shape) -> int:
    """Multiplications a token, attention between tokens not counted; the vector itself counts as one each."""
    return shape.hidden + shape.layers * shape.hidden * (4 * shape.hidden + 2 * shape.feed_forward)


def spread(shapes: Sequence[Shape], wanted: int) -> list[Shape]:
    """Some of them, at even distances on a scale of what they compute; shapes are sorted, the dearest first."""
    if len(shapes) <= wanted:
        return list(shapes)
    most, least = products(shapes[0]), products(shapes[-1])
    chosen: list[Shape] = []
    for i in range(wanted):
        target = most * (least / most) ** (i / max(1, wanted - 1))
        free = [shape for shape in shapes if shape not in chosen]
        chosen.append(min(free, key=lambda shape: abs(products(shape) / target - 1)))
    return sorted(chosen, key=products, reverse=True)
