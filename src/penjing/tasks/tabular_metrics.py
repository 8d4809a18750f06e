"""Metrics of credit scoring that classification lacks. In numpy and short: they run on every bootstrap resample."""

from __future__ import annotations

import numpy as np


def kolmogorov_smirnov(positive: np.ndarray, scores: np.ndarray) -> float:
    """KS statistic: the greatest gap between the score distributions of positives and negatives.

    Args:
        positive: [N] bool.
        scores: [N].

    Returns:
        In [0, 1]; NaN where only one class is present.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    order = np.argsort(scores, kind="stable")
    hits = np.cumsum(positive[order]) / num_positive
    misses = np.cumsum(~positive[order]) / num_negative
    # Within a tie no threshold separates the rows, so only the last row of each tie counts.
    last = np.append(np.diff(scores[order]) > 0, True)
    return float(np.abs(hits - misses)[last].max())


def squared_errors(true: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """[N] squared distance of the probabilities from the truth, whose mean is the Brier score.

    For two classes it is that of the second class alone, as usual for a default probability.

    Args:
        true: [N] class index, -1 for a class the model does not know, which is far from all.
        probs: [N, C].
    """
    truth = (true[:, None] == np.arange(probs.shape[1])).astype(np.float64)
    squared = ((probs - truth) ** 2).sum(axis=1) + (true < 0)
    return np.asarray(squared / (2 if probs.shape[1] == 2 else 1))
