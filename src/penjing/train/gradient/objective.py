"""Losses over logits, each returned as one number a row, so that the caller can sum, weigh and pair them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Objective:
    """A loss and its settings.

    Args:
        loss: "cross_entropy", "focal", "bce" or "mse".
        label_smoothing: share of the target spread evenly over all classes.
        focal_gamma: exponent of focal loss.
        class_weights: [C] or None.
    """

    loss: str
    label_smoothing: float = 0.0
    focal_gamma: float = 2.0
    class_weights: tuple[float, ...] | None = None

    def per_row(self, logits_NC: Tensor, targets: Tensor) -> Tensor:
        """[N] losses; targets are [N] class indices, [N, C] in [0, 1], or [N] numbers, by loss."""
        logits_NC = logits_NC.to(torch.promote_types(logits_NC.dtype, torch.float32))
        if self.loss == "mse":
            return (logits_NC.squeeze(-1) - targets).square()
        weights_C = None
        if self.class_weights is not None:
            weights_C = torch.tensor(self.class_weights, dtype=logits_NC.dtype, device=logits_NC.device)
        if self.loss == "bce":
            smooth = targets * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
            losses_NC = F.binary_cross_entropy_with_logits(logits_NC, smooth, reduction="none", pos_weight=weights_C)
            return losses_NC.mean(-1)
        losses_N = F.cross_entropy(logits_NC, targets, reduction="none", label_smoothing=self.label_smoothing)
        if self.loss == "focal":  # Lin et al. 2017, equation 5
            p_true_N = logits_NC.softmax(-1).gather(1, targets[:, None]).squeeze(1)
            losses_N = losses_N * (1 - p_true_N) ** self.focal_gamma
        return losses_N if weights_C is None else losses_N * weights_C[targets]

    def divergence(self, first_NC: Tensor, second_NC: Tensor) -> Tensor:
        """[N] symmetric KL between two passes over the same rows (R-Drop, Liang et al. 2021, equation 2)."""
        if self.loss == "mse":
            return (first_NC - second_NC).float().square().squeeze(-1)
        if self.loss == "bce":
            p, q = first_NC.float().sigmoid(), second_NC.float().sigmoid()
            return ((p - q) * (first_NC.float() - second_NC.float())).mean(-1) / 2
        p_NC, q_NC = first_NC.float().log_softmax(-1), second_NC.float().log_softmax(-1)
        return ((p_NC.exp() - q_NC.exp()) * (p_NC - q_NC)).sum(-1) / 2


def balanced_weights(counts: list[int]) -> tuple[float, ...]:
    """Inverse class frequency, mean 1 over the rows."""
    total, classes = sum(counts), len(counts)
    return tuple(total / (classes * max(1, count)) for count in counts)
