"""Intervals of means and of paired differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """(mean, low, high): 95% t interval over independent repetitions; no interval of a single one."""
    return _around(values, 1.0 / max(1, len(values)))


def resampled_interval(values: Sequence[float], test_share: float) -> tuple[float, float | None, float | None]:
    """(mean, low, high) over repeated splits of the same rows (corrected resampled t; Nadeau and Bengio 2003).

    The training sets overlap, so the values vary together: their variance counts (1/J + n_test/n_train) times.

    Args:
        values: one a split.
        test_share: part of the rows held out in each split.
    """
    return _around(values, 1.0 / max(1, len(values)) + test_share / (1 - test_share))


def _around(values: Sequence[float], factor: float) -> tuple[float, float | None, float | None]:
    array = np.asarray(values, np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return mean, None, None
    half = float(stats.t.ppf(0.975, len(array) - 1) * np.sqrt(factor * array.var(ddof=1)))
    return mean, mean - half, mean + half


def paired_difference(
    ours: Sequence[bool], theirs: Sequence[bool], *, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """(difference, low, high) in points of accuracy of two models on the same rows, by bootstrap over rows."""
    gain = np.asarray(ours, np.int64) - np.asarray(theirs, np.int64)
    # A row's gain is -1, 0 or 1, so resampling rows is drawing the counts of the three.
    shares = np.array([(gain == value).mean() for value in (-1, 0, 1)])
    drawn = np.random.default_rng(seed).multinomial(len(gain), shares, size=resamples)
    low, high = np.quantile((drawn[:, 2] - drawn[:, 0]) / len(gain), [0.025, 0.975])
    return 100 * float(gain.mean()), 100 * float(low), 100 * float(high)
