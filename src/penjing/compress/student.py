"""A smaller model of the same make, begun from the layers, heads and neurons of a trained one.

Layers are taken at even distances (Sanh et al. 2019). A narrower model sees the trained one's hidden states through
their principal components, as SliceGPT does (Ashkboos et al. 2024); what layer normalisation does to those is only
approximated, and learned again by distillation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from penjing.core.errors import CapabilityError
from penjing.models.encoder import Encoder, EncoderConfig, Layer
from penjing.models.phrases import Phrases
from penjing.train.gradient.sequence import SequenceModel
from penjing.train.gradient.tokens import TokenModel


@dataclass(frozen=True)
class Shape:
    """Sizes of a student.

    Args:
        layers: transformer blocks; without any it is a bag of words or of phrases.
        hidden: width of a token's vector, a multiple of the teacher's width of a head.
        feed_forward: width between the two products of a block.
        heads: of attention in a block; None: as many as fill the hidden width.
        phrases: features of three neighbouring tokens that are pooled beside their mean, see `models/phrases.py`.
    """

    layers: int
    hidden: int
    feed_forward: int
    heads: int | None = None
    phrases: int = 0


def make_student(teacher: nn.Module, shape: Shape, basis_HK: Tensor | None = None) -> nn.Module:
    """Begin a student; the teacher stays as it is, and its n-grams stay with it.

    Args:
        teacher: in 32 bits, its encoder one of ours.
        shape: no size larger than the teacher's.
        basis_HK: principal components of the teacher's hidden states, see `components`; None where the student is as
            wide.

    Raises:
        CapabilityError: the shape does not fit the teacher, or its task has no vector of a text.
    """
    encoder = teacher.encoder
    if not isinstance(encoder, Encoder):
        raise CapabilityError("only BERT encoders can be made smaller", where="compress.distil")
    config = encoder.config
    require_fit(shape, config, of_texts=isinstance(teacher, SequenceModel))
    if basis_HK is None:
        basis_HK = torch.eye(config.hidden_size)
    assert basis_HK.shape == (config.hidden_size, shape.hidden), "the basis is of another width"
    kept = [encoder.layers[place] for place in even_places(len(encoder.layers), shape.layers)]
    small = Encoder(
        replace(
            config,
            num_hidden_layers=shape.layers,
            hidden_size=shape.hidden,
            num_attention_heads=shape.hidden // config.head_size,
            intermediate_size=shape.feed_forward,
            layer_heads=_fewer(
                config.layer_heads, [layer.num_heads for layer in kept], shape.hidden // config.head_size
            )
            if shape.heads is None
            else tuple(min(shape.heads, layer.num_heads) for layer in kept),
            layer_sizes=_fewer(config.layer_sizes, [layer.down.in_features for layer in kept], shape.feed_forward),
            ranks=None,
        )
    )
    with torch.no_grad():
        for name in ("words", "positions", "types"):
            getattr(small, name).weight.copy_(getattr(encoder, name).weight.float() @ basis_HK)
        _project_norm(small.embedding_norm, encoder.embedding_norm, basis_HK)
        if not shape.layers:
            _leave_places_out(small)
        for layer, source in zip(small.layers, kept, strict=True):
            _project_layer(layer, source, basis_HK)
        student = _under_head_of(teacher, small)
        # A mean of words is not the vector that the teacher's head reads: on it that head is sure of nonsense, and most
        # of the lessons would go into forgetting that. There the new head stays at zero.
        if shape.layers or isinstance(student, TokenModel):
            _project_head(student.head, teacher.head, basis_HK)
    if shape.phrases:
        student.phrases = _begin_phrases(shape)
    return student


def _begin_phrases(shape: Shape) -> Phrases:
    """Drawn alike each time, so that what is taught from it can be taught again."""
    phrases = Phrases(shape.hidden, shape.phrases)
    bound = (3 * shape.hidden) ** -0.5
    nn.init.uniform_(phrases.window.weight, -bound, bound, generator=torch.Generator().manual_seed(0))
    nn.init.zeros_(phrases.window.bias)
    return phrases


def _leave_places_out(encoder: Encoder) -> None:
    """Where a word stands means nothing to a mean, and without it vectors are looked up alone.

    They are normalised behind the table, so their length is free: at a deviation of one a step of the optimizer moves
    them by no more than other weights, where those of an encoder, ten times as short, would be thrown about.
    """
    for table in (encoder.positions, encoder.types):
        table.requires_grad_(False)
    words_VH = encoder.words.weight + encoder.types.weight[0]
    words_VH -= words_VH.mean(1, keepdim=True)
    encoder.words.weight.copy_(words_VH / words_VH.std(1, keepdim=True).clamp(min=1e-6))
    encoder.positions.weight.zero_()
    encoder.types.weight.zero_()


def _fewer(pruned: tuple[int, ...] | None, there: list[int], wanted: int) -> tuple[int, ...] | None:
    """Of each layer as many as wanted, or all that pruning left; None where nothing was pruned."""
    return None if pruned is None else tuple(min(size, wanted) for size in there)


def _under_head_of(teacher: nn.Module, encoder: Encoder) -> nn.Module:
    """A model of the teacher's kind around another encoder."""
    if isinstance(teacher, TokenModel):
        head = teacher.head
        return TokenModel(encoder, head.num_labels, head.max_span_tokens, teacher.dropout)
    return type(teacher)(encoder, teacher.head.out_features)


def _project_head(target: nn.Module, source: nn.Module, basis_HK: Tensor) -> None:
    """Each product of the head reads the components; what it has beside products is copied."""
    linears = {name: part for name, part in source.named_modules() if isinstance(part, nn.Linear)}
    for name, part in linears.items():
        mine = target.get_submodule(name)
        parts = part.in_features // len(basis_HK)  # of a pair: what its texts say, differ and agree in
        weight_CPH = part.weight.view(-1, parts, len(basis_HK))
        mine.weight.copy_((weight_CPH @ basis_HK).flatten(1))
        mine.bias.copy_(part.bias)
    for (_, mine), (_, theirs) in zip(
        target.named_parameters(recurse=False), source.named_parameters(recurse=False), strict=True
    ):
        if not isinstance(source, nn.Linear):
            mine.copy_(theirs)


def even_places(num_layers: int, wanted: int) -> list[int]:
    """Which layers of so many are kept: evenly spread, the last always."""
    return [num_layers - 1 - round(i * num_layers / wanted) for i in range(wanted)][::-1]


def components(covariance_HH: Tensor, width: int) -> Tensor:
    """[H, K] orthonormal: the K principal components of hidden states with this covariance."""
    _, vectors_HH = torch.linalg.eigh(covariance_HH.double())
    return vectors_HH[:, -width:].flip(1).float()


def require_fit(shape: Shape, config: EncoderConfig, *, of_texts: bool) -> None:
    """Refuse a shape that no student of a teacher can have.

    Args:
        shape: of the student.
        config: the teacher's.
        of_texts: whether the task has a vector of a text.

    Raises:
        CapabilityError: the message names what does not fit.
    """
    if shape.phrases and not of_texts:
        raise CapabilityError(
            "phrases are pooled into a text's vector, and this task has none",
            where="compress.distil.phrases",
            next_step="leave phrases out",
        )
    for name, wanted, least, there in (
        ("layers", shape.layers, 0, config.num_hidden_layers),
        ("hidden", shape.hidden, 1, config.hidden_size),
        ("feed_forward", shape.feed_forward, 1, config.intermediate_size),
        ("heads", shape.heads or 1, 1, shape.hidden // config.head_size),
    ):
        if not least <= wanted <= there:
            raise CapabilityError(
                f"a student with {name} {wanted} of a teacher with {there}",
                where=f"compress.distil.{name}",
                expected=f"from {least} to {there}",
            )
    if shape.hidden % config.head_size:
        raise CapabilityError(
            f"a width of {shape.hidden} is no number of heads of {config.head_size}",
            where="compress.distil.hidden",
            expected=f"a multiple of {config.head_size}",
        )


def _project_norm(target: nn.LayerNorm, source: nn.LayerNorm, basis_HK: Tensor) -> None:
    target.weight.copy_((basis_HK**2).T @ source.weight)
    target.bias.copy_(source.bias @ basis_HK)


def _project_layer(target: Layer, source: Layer, basis_HK: Tensor) -> None:
    """The heads and neurons that say most, between the components of the hidden states."""
    size = source.attention_out.in_features // source.num_heads
    heads = _strongest(source.attention_out.weight.view(-1, source.num_heads, size).norm(dim=(0, 2)), target.num_heads)
    places = (heads[:, None] * size + torch.arange(size)).flatten()
    inner = source.attention_out.in_features
    rows = torch.cat([places + part * inner for part in range(3)])
    target.qkv.weight.copy_(source.qkv.weight[rows] @ basis_HK)
    target.qkv.bias.copy_(source.qkv.bias[rows])
    target.attention_out.weight.copy_(basis_HK.T @ source.attention_out.weight[:, places])
    target.attention_out.bias.copy_(source.attention_out.bias @ basis_HK)
    _project_norm(target.attention_norm, source.attention_norm, basis_HK)
    neurons = _strongest(source.up.weight.norm(dim=1) * source.down.weight.norm(dim=0), target.up.out_features)
    target.up.weight.copy_(source.up.weight[neurons] @ basis_HK)
    target.up.bias.copy_(source.up.bias[neurons])
    target.down.weight.copy_(basis_HK.T @ source.down.weight[:, neurons])
    target.down.bias.copy_(source.down.bias @ basis_HK)
    _project_norm(target.output_norm, source.output_norm, basis_HK)


def _strongest(strength_N: Tensor, wanted: int) -> Tensor:
    """[wanted] places of the greatest values, ascending."""
    return strength_N.topk(wanted).indices.sort().values


def keep_ngrams(student: nn.Module, teacher: nn.Module, most: int) -> None:
    """Put the strongest features of the teacher's linear model beside a student, which then learns to complete it."""
    ngrams = getattr(teacher, "ngrams", None)
    if most and ngrams is not None:
        student.ngrams = ngrams.strongest(most)
