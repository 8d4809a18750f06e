"""Percentile bootstrap over a task's statistics, generic by `task.aggregate`.

Units are resampled with replacement (Efron and Tibshirani 1993, chapter 13). Where rows share a group (one customer,
one document), whole groups are resampled, since their rows are not independent and row-wise intervals would be too
narrow (Field and Welsh 2007).

A resample of rows that are all right is all right: near 0% and 100% the bootstrap claims to know more than the rows
show. A share with fewer than ten units on one side therefore has Wilson's interval (Brown, Cai and DasGupta 2001), and
any other metric that never varied has none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np

from penjing.core.task import Metric, Stats

FEW = 10  # units on one side of a share, below which its resamples are too coarse


class Aggregates(Protocol):
    """The part of a task that the bootstrap needs."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What is known of each metric."""
        ...

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → metrics."""
        ...


@dataclass(frozen=True)
class Interval:
    """A figure on all units and its interval; None where it is undefined on these units.

    Args:
        value: the figure on all units.
        low: lower bound.
        high: upper bound.
    """

    value: float | None
    low: float | None
    high: float | None


def resample_indices(
    num_units: int, resamples: int, seed: int, groups: Sequence[object] | None = None
) -> Iterator[np.ndarray]:
    """Positions of each resample.

    Args:
        num_units: units to draw from.
        resamples: how many resamples.
        seed: equal seeds give equal draws, on every machine.
        groups: [N] group of each unit; groups are drawn whole.

    Yields:
        [N] int positions; with groups, about N.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        for _ in range(resamples):
            yield rng.integers(0, num_units, num_units)
        return
    members: dict[object, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    blocks = [np.array(block) for block in members.values()]
    for _ in range(resamples):
        yield np.concatenate([blocks[i] for i in rng.integers(0, len(blocks), len(blocks))])


def bootstrap(
    task: Aggregates,
    stats: Stats,
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    groups: Sequence[object] | None = None,
    on_step: Callable[[int], None] | None = None,
) -> dict[str, Interval]:
    """Every metric of a task with its percentile interval.

    Args:
        task: aggregates statistics to metrics.
        stats: one row a unit.
        resamples: how many.
        level: coverage of the interval.
        seed: of the draws.
        groups: [N] group of each unit, where units are not independent.
        on_step: told the number of resamples done, now and then.
    """
    whole = task.aggregate(stats)
    draws: dict[str, list[float]] = {name: [] for name in whole}
    for done, index in enumerate(resample_indices(len(stats), resamples, seed, groups), 1):
        for name, value in task.aggregate(stats.take(index)).items():
            draws[name].append(value)
        if on_step and done % 50 == 0:
            on_step(done)
    found = {}
    for name, value in whole.items():
        drawn = np.array(draws[name])
        found[name] = interval(value, drawn, level)
        if task.metrics[name].share and np.isfinite(value):
            num_units = _independent_units(value, drawn, len(stats), groups)
            if num_units * min(value, 1 - value) < FEW:
                found[name] = Interval(float(value), *wilson(value, num_units, level))
    return found


def interval(value: float, draws: np.ndarray, level: float = 0.95) -> Interval:
    """The percentile interval of a figure.

    A metric can be undefined on a resample (an AUC when one class was not drawn). Such draws are left out; when they
    are more than one in twenty, what is left no longer covers the level and there is no interval. Nor is there one
    where all draws are equal: that the metric never varied says nothing of how far it could.

    Args:
        value: the figure on all units.
        draws: [B] the figure on each resample, NaN where undefined.
        level: coverage.
    """
    if not np.isfinite(value):
        return Interval(None, None, None)
    defined = draws[np.isfinite(draws)]
    if len(defined) < 0.95 * len(draws):
        return Interval(float(value), None, None)
    if defined.min() == defined.max():
        return Interval(float(value), None, None)
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def wilson(share: float, num_units: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927).

    Args:
        share: units that are right, of all.
        num_units: independent units.
        level: coverage.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    scale = 1 + z**2 / num_units
    middle = (share + z**2 / (2 * num_units)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / num_units + (z / (2 * num_units)) ** 2)
    # At 0 and 1 one bound is the share itself, but for rounding.
    return min(max(middle - half, 0.0), share), max(min(middle + half, 1.0), share)


def _independent_units(share: float, draws: np.ndarray, num_units: int, groups: Sequence[object] | None) -> float:
    """How many independent units would make a share vary as the draws do (Korn and Graubard 1998)."""
    if groups is None:
        return num_units
    variance = float(draws.var())
    return min(num_units, share * (1 - share) / variance) if variance else len(set(groups))
