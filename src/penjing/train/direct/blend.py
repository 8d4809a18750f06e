"""Mix two raw scores by what they gave on rows that neither was fitted on.

Half of each, in units of their spread, unless another share is clearly better: the settings of both were chosen on the
same rows, so their losses there are flattered, those of the more flexible model most, and a share fitted freely follows
that (docs/decisions/0013-tabular-mix.md). The sum is rescaled to the least log loss, which calibrates it: a strongly
regularised model is too modest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHARES = np.linspace(0.0, 1.0, 11)
# In units of the mix's spread. Bounded, because on separable rows the loss falls for ever as scores grow.
SCALES = np.geomspace(0.1, 10.0, 41)
# Standard errors of the mean difference of losses by which another share must win.
CLEARLY = 2.0
# More rows than these hardly move two weights.
MAX_ROWS = 20_000


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
    """Share and scale, from judged rows only.

    Args:
        trees_NK: [N, K] raw scores of the trees.
        linear_NK: [N, K] raw scores of the linear model.
        target_N: [N] class index, or standardised number.
        num_classes: 0 for regression, which is neither rescaled nor measured in units of spread.
    """
    some = slice(None, None, -(-len(target_N) // MAX_ROWS))
    trees_NK, linear_NK, target_N = trees_NK[some], linear_NK[some], target_N[some]
    units = [spread(scores, num_classes) for scores in (trees_NK, linear_NK)]

    def mixed(share: float) -> tuple[Blend, np.ndarray]:
        parts = share / units[0], (1 - share) / units[1]
        scores = parts[0] * trees_NK + parts[1] * linear_NK
        scale, losses = _best_scale(scores, target_N, num_classes)
        return Blend(float(scale * parts[0]), float(scale * parts[1]), float(losses.mean())), losses

    half, half_losses = mixed(0.5)
    best = half
    for share in SHARES:
        found, losses = mixed(float(share))
        gain = half_losses - losses
        if found.loss < best.loss and gain.mean() > CLEARLY * gain.std() / np.sqrt(len(gain)):
            best = found
    return best


def half_loss(trees_NK: np.ndarray, linear_NK: np.ndarray, target_N: np.ndarray, num_classes: int) -> float:
    """Loss of the even mix: what a linear model is worth beside these trees."""
    some = slice(None, None, -(-len(target_N) // MAX_ROWS))
    units = [spread(scores, num_classes) for scores in (trees_NK, linear_NK)]
    scores = 0.5 * (trees_NK[some] / units[0] + linear_NK[some] / units[1])
    return float(_best_scale(scores, target_N[some], num_classes)[1].mean())


def spread(scores_NK: np.ndarray, num_classes: int) -> float:
    """Standard deviation of the scores, those of a row relative to their mean; 1 for regression and for constants."""
    if not num_classes:
        return 1.0
    if scores_NK.shape[1] > 1:
        scores_NK = scores_NK - scores_NK.mean(axis=1, keepdims=True)
    return float(scores_NK.std()) or 1.0


def row_losses(scores_NK: np.ndarray, target_N: np.ndarray, num_classes: int) -> np.ndarray:
    """[N] cross-entropies in nats, or squared errors (num_classes 0).

    For two classes K is 1 and the score is the log-odds z of class 1: the loss is log(1 + e^z) - y z.
    """
    if not num_classes:
        return np.asarray((scores_NK[:, 0] - target_N) ** 2)
    if num_classes == 2:
        z = scores_NK[:, 0]
        return np.asarray(np.logaddexp(0.0, z) - target_N * z)
    shifted = scores_NK - scores_NK.max(axis=1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(target_N)), target_N])


def _best_scale(scores_NK: np.ndarray, target_N: np.ndarray, num_classes: int) -> tuple[float, np.ndarray]:
    if not num_classes:
        return 1.0, row_losses(scores_NK, target_N, num_classes)
    tried = [(float(scale), row_losses(scale * scores_NK, target_N, num_classes)) for scale in SCALES]
    return min(tried, key=lambda pair: pair[1].mean())
