"""Which students there are, and what each costs before it has learned anything: weights do not change that."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.compress.student import Shape
from penjing.models.encoder import EncoderConfig

# Shares of the teacher's: width of a token's vector, heads of a block, inner width of a block.
_WIDTHS, _HEADS, _INNER = (1, 1 / 2), (1, 2 / 3, 1 / 3, 1 / 6), (1, 3 / 4, 1 / 2, 1 / 4, 1 / 8)


# Widths of a token's vector of students without layers that know phrases; each has twice as many features.
_PHRASE_WIDTHS = (192, 128, 96)


def near_width(config: EncoderConfig, width: int) -> int:
    """The width of a token's vector that comes nearest and that an encoder's student can have."""
    size = config.head_size
    return min(config.hidden_size, max(1, round(width / size)) * size)


def phrase_shapes(config: EncoderConfig) -> list[Shape]:
    """Students without layers that know phrases, the dearest first."""
    widths = [near_width(config, width) for width in _PHRASE_WIDTHS]
    return [Shape(0, width, 1, 1, phrases=2 * width) for width in dict.fromkeys(widths)]


def first_stage_shape(config: EncoderConfig) -> Shape:
    """The one of them that stands in front of others."""
    shapes = phrase_shapes(config)
    return shapes[len(shapes) // 2]


def all_shapes(config: EncoderConfig, *, phrases: bool) -> list[Shape]:
    """Students of an encoder that are smaller than it, by what they compute, the dearest first.

    Args:
        config: of the encoder.
        phrases: whether those without layers may know phrases.
    """
    depths = [n for n in (1, 2, 3, 4, 6, 8, 12) if n <= config.num_hidden_layers]
    size = config.head_size
    found = set(phrase_shapes(config)) if phrases else set()
    for share in _WIDTHS:
        hidden = max(1, round(share * config.num_attention_heads)) * size
        heads = {max(1, round(part * hidden / size)) for part in _HEADS}
        inner = {max(8, round(part * share * config.intermediate_size / 8) * 8) for part in _INNER}
        found |= {Shape(layers, hidden, f, n) for layers in depths for f in inner for n in heads}
        found.add(Shape(0, hidden, 1, 1))  # a bag of words
    return sorted(found - {whole_shape(config)}, key=lambda shape: (-products(shape, size), shape.layers))


def whole_shape(config: EncoderConfig) -> Shape:
    """The encoder itself."""
    return Shape(config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads)


def products(shape: Shape, head_size: int) -> int:
    """Multiplications a token, attention between tokens not counted; the vector itself counts as one each."""
    attended = shape.hidden if shape.heads is None else shape.heads * head_size
    of_layers = shape.layers * shape.hidden * (4 * attended + 2 * shape.feed_forward)
    return shape.hidden + of_layers + 3 * shape.hidden * shape.phrases


def spread(shapes: Sequence[Shape], wanted: int, head_size: int) -> list[Shape]:
    """Some of them, at even distances on a scale of what they compute; shapes are sorted, the dearest first."""
    if len(shapes) <= wanted:
        return list(shapes)
    most, least = products(shapes[0], head_size), products(shapes[-1], head_size)
    chosen: list[Shape] = []
    for i in range(wanted):
        target = most * (least / most) ** (i / max(1, wanted - 1))
        free = [shape for shape in shapes if shape not in chosen]
        chosen.append(min(free, key=lambda shape: abs(products(shape, head_size) / target - 1)))
    return sorted(chosen, key=lambda shape: -products(shape, head_size))
