"""A teacher at work: its inner states on the texts that its student reads, for the student to come near."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.compress.lessons import IDS, MASK
from penjing.core.errors import CapabilityError
from penjing.models.encoder import Encoder

RELATION_HEADS = 12


@dataclass
class Inner:
    """Inner states of one pass.

    Args:
        hidden: [B, L, H] after the last layer.
        qkv: [B, L, 3D] queries, keys and values of the last layer.
    """

    hidden: Tensor | None = None
    qkv: Tensor | None = None


@dataclass(frozen=True)
class Guide:
    """What of a teacher's inner states is learned.

    Args:
        teacher: in evaluation mode; reads the same tokens as the student.
        basis_HK: the student's coordinates, see `student.components`; None where it is as wide.
        hidden: weight of the distance between the last hidden states.
        relations: weight of the distance between what tokens are alike in queries, keys and values.
    """

    teacher: nn.Module = field(repr=False)
    basis_HK: Tensor | None
    hidden: float
    relations: float

    @property
    def weights(self) -> list[float]:
        """What shapes the loss, for a digest."""
        return [self.hidden, self.relations]

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[Inner]:
        """Note the inner states of the passes that are made in this block; of several, the last."""
        encoder = model.encoder
        if not isinstance(encoder, Encoder) or not len(encoder.layers):
            raise CapabilityError("only BERT encoders with layers show their inner states", where="compress.distil")
        inner = Inner()
        last = encoder.layers[-1]
        hooks = [
            encoder.register_forward_hook(lambda *parts: setattr(inner, "hidden", parts[-1])),
            last.qkv.register_forward_hook(lambda *parts: setattr(inner, "qkv", parts[-1])),
        ]
        try:
            yield inner
        finally:
            for hook in hooks:
                hook.remove()

    def losses(self, student: Inner, batch: dict[str, Tensor]) -> Tensor:
        """[B] weighted distances of the student's inner states from the teacher's on the same batch."""
        parameter = next(self.teacher.parameters())
        with torch.no_grad(), self.watching(self.teacher) as inner:
            self.teacher({name: batch[name] for name in (IDS, MASK) if name in batch})
        assert student.hidden is not None and student.qkv is not None
        assert inner.hidden is not None and inner.qkv is not None
        mask = batch.get(MASK, torch.ones_like(batch[IDS]))  # texts of one length come without
        mask_BL = mask.flatten(0, -2).to(torch.float32)  # the two texts of a pair are rows here
        rows = len(batch["labelled"])
        total_B = torch.zeros(rows, device=parameter.device)
        if self.hidden:
            target_BLK = inner.hidden.float()
            if self.basis_HK is not None:
                target_BLK = target_BLK @ self.basis_HK.to(parameter.device)
            distance_BL = (student.hidden.float() - target_BLK).square().mean(-1)
            total_B = total_B + self.hidden * _a_row(distance_BL, mask_BL, rows)
        if self.relations:
            asked = mask_BL.shape[1]  # within the encoder there may be padding that nobody asked for
            distance_BL = _relations(student.qkv[:, :asked], inner.qkv[:, :asked], mask_BL)
            total_B = total_B + self.relations * _a_row(distance_BL, mask_BL, rows)
        return total_B


def _a_row(values_BL: Tensor, mask_BL: Tensor, rows: int) -> Tensor:
    """[rows] means over the tokens that are not padding, and over the texts of a row."""
    means_B = (values_BL * mask_BL).sum(1) / mask_BL.sum(1).clamp(min=1)
    return means_B.view(rows, -1).mean(1)


def _relations(student_BLD: Tensor, teacher_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """[B, L] divergence of the distributions that queries, keys and values each span over the tokens."""
    found_BL = torch.zeros_like(mask_BL)
    bias_B11L = (1 - mask_BL)[:, None, None, :] * -1e9
    for mine_BLD, theirs_BLD in zip(student_BLD.float().chunk(3, -1), teacher_BLD.float().chunk(3, -1), strict=True):
        heads = _common_heads(mine_BLD.shape[-1], theirs_BLD.shape[-1])
        log_mine, log_theirs = (
            (_alike(part_BLD, heads) + bias_B11L).log_softmax(-1) for part_BLD in (mine_BLD, theirs_BLD)
        )
        found_BL = found_BL + F.kl_div(log_mine, log_theirs, log_target=True, reduction="none").sum(-1).mean(1)
    return found_BL / 3


def _common_heads(*widths: int) -> int:
    """Relation heads of both: the most, up to twelve, that divide either width."""
    return next(n for n in range(RELATION_HEADS, 0, -1) if all(width % n == 0 for width in widths))


def _alike(part_BLD: Tensor, heads: int) -> Tensor:
    """[B, R, L, L] scaled products of each token with each, by relation head."""
    batch, length, _ = part_BLD.shape
    split_BRLD = part_BLD.reshape(batch, length, heads, -1).transpose(1, 2)
    return split_BRLD @ split_BRLD.transpose(2, 3) * split_BRLD.shape[-1] ** -0.5
