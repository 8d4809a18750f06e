"""Mix two raw scores by what they gave on rows neither was fitted on (stacked generalization, Wolpert 1992).

The sum is also rescaled to the least log loss, which calibrates it: a strongly regularised model is too modest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHARES = np.linspace(0.0, 1.0, 11)
# Bounded, because on separable rows the loss falls for ever as scores grow.
SCALES = np.geomspace(0.25, 4.0, 41)


@dataclass(frozen=True)
class Blend:
    """Score = trees · `trees` + linear · `linear`.

    Args:
        trees: weight of the boosted trees.
        linear: weight of the linear model.
        loss: log loss, or mean squared error, of the mix on the judged rows.
    """

    trees: float
    linear: float
    loss: float


def fit_blend(trees_NK: np.ndarray, linear_NK: np.ndarray, target_N: np.ndarray, num_classes: int) -> Blend:
    """The share and scale with the least loss, on judged rows only.

    Args:
        trees_NK: [N, K] raw scores of the trees.
        linear_NK: [N, K] raw scores of the linear model.
        target_N: [N] class index, or standardised number.
        num_classes: 0 for regression, which is not rescaled.
    """
    best = Blend(1.0, 0.0, np.inf)
    for share in SHARES:
        mixed = share * trees_NK + (1 - share) * linear_NK
        for scale in SCALES if num_classes else (1.0,):
            loss = mean_loss(scale * mixed, target_N, num_classes)
            if loss < best.loss:
                best = Blend(float(scale * share), float(scale * (1 - share)), loss)
    return best


def mean_loss(scores_NK: np.ndarray, target_N: np.ndarray, num_classes: int) -> float:
    """Mean cross-entropy in nats, or mean squared error (num_classes 0).

    For two classes K is 1 and the score is the log-odds z of class 1: the loss is log(1 + e^z) - y z.
    """
    if not num_classes:
        return float(((scores_NK[:, 0] - target_N) ** 2).mean())
    if num_classes == 2:
        z = scores_NK[:, 0]
        return float((np.logaddexp(0.0, z) - target_N * z).mean())
    shifted = scores_NK - scores_NK.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target_N)), target_N]).mean())
