"""Losses over logits, each returned as one number a row, so that the caller can sum, weigh and pair them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Objective:
    """A loss and its settings.

    Args:
        loss: "cross_entropy", "focal", "bce" or "mse".
        label_smoothing: share of the target spread evenly over all classes; with several labels a row, over the yes
            and the no of each. Focal loss has it too.
        focal_gamma: exponent of focal loss.
        class_weights: [C] or None.
    """

    loss: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None

    def per_row(self, logits_NC: Tensor, targets: Tensor) -> Tensor:
        """[N] losses; targets are [N] class indices, [N, C] in [0, 1], or [N] numbers, by loss."""
        logits_NC = _at_least_fp32(logits_NC)
        if self.loss == "mse":
            return (logits_NC.squeeze(-1) - targets).square()
        weights_C = None
        if self.class_weights is not None:
            weights_C = torch.tensor(self.class_weights, dtype=logits_NC.dtype, device=logits_NC.device)
        if targets.ndim == 2:
            return self._binary(logits_NC, targets.to(logits_NC.dtype), weights_C)
        losses_N = F.cross_entropy(logits_NC, targets, reduction="none", label_smoothing=self.label_smoothing)
        if self.loss == "focal":  # Lin et al. 2017, equation 5
            p_true_N = logits_NC.softmax(-1).gather(1, targets[:, None]).squeeze(1)
            losses_N = losses_N * (1 - p_true_N) ** self.focal_gamma
        return losses_N if weights_C is None else losses_N * weights_C[targets]

    def _binary(self, logits_NC: Tensor, targets_NC: Tensor, weights_C: Tensor | None) -> Tensor:
        """[N] means over the labels, each a question of its own; weights count for the labels that apply."""
        smooth_NC = targets_NC * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        losses_NC = F.binary_cross_entropy_with_logits(logits_NC, smooth_NC, reduction="none", pos_weight=weights_C)
        if self.loss == "focal":
            p_NC = logits_NC.sigmoid()
            p_true_NC = p_NC * targets_NC + (1 - p_NC) * (1 - targets_NC)
            losses_NC = losses_NC * (1 - p_true_NC) ** self.focal_gamma
        return losses_NC.mean(-1)

    def divergence(self, first_NC: Tensor, second_NC: Tensor, *, several: bool) -> Tensor:
        """[N] symmetric KL between two passes over the same rows (R-Drop, Liang et al. 2021, equation 2).

        Args:
            first_NC: logits of one pass.
            second_NC: logits of the other.
            several: whether each output is a yes-or-no question of its own (multi-label).
        """
        first_NC, second_NC = _at_least_fp32(first_NC), _at_least_fp32(second_NC)
        if self.loss == "mse":  # two normal distributions of unit variance: the symmetric KL is the squared distance
            return (first_NC - second_NC).square().squeeze(-1) / 2
        if several:
            p_NC, q_NC = first_NC.sigmoid(), second_NC.sigmoid()
            return ((p_NC - q_NC) * (first_NC - second_NC)).mean(-1) / 2
        p_NC, q_NC = first_NC.log_softmax(-1), second_NC.log_softmax(-1)
        return ((p_NC.exp() - q_NC.exp()) * (p_NC - q_NC)).sum(-1) / 2


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def balanced_weights(counts: Sequence[int]) -> tuple[float, ...]:
    """Inverse class frequency, mean 1 over the rows; a class without rows weighs as one with a single row."""
    total, classes = sum(counts), len(counts)
    return tuple(total / (classes * max(1, count)) for count in counts)


def balanced_positive_weights(counts: Sequence[int], num_rows: int) -> tuple[float, ...]:
    """For labels that are each a question of their own: rows without the label over rows with it."""
    return tuple(max(1, num_rows - count) / max(1, count) for count in counts)
