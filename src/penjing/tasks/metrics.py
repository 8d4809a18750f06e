"""Figures that several tasks report, from arrays; NaN where they are undefined."""

from __future__ import annotations

import math

import numpy as np


def ratio(part: float, whole: float) -> float:
    """A share of a whole; NaN of nothing."""
    return float(part / whole) if whole else float("nan")


def mean(values: np.ndarray) -> float:
    """Mean of [N]; NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """[N] values → [N] ranks from 1, ties sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def area_under_roc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive outscores a negative, ties counting half (Mann-Whitney); NaN without both kinds.

    Args:
        positive: [N] bool.
        scores: [N], greater means more positive.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    if not num_positive or not num_negative:
        return float("nan")
    rank_sum = mean_ranks(scores)[positive].sum()
    return float((rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the ranks of [N] and [N]; NaN where one side is constant, or there is nothing."""
    if not len(first):
        return float("nan")
    one, other = (ranks - ranks.mean() for ranks in map(mean_ranks, (first, second)))
    return ratio(float(one @ other), math.sqrt(float(one @ one) * float(other @ other)))
