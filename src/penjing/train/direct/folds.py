"""Which rows validate which settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HOLDOUT = 0.2


@dataclass(frozen=True)
class Fold:
    """Positions of the rows a candidate is fitted on, and of those it is judged on."""

    fit: np.ndarray
    judge: np.ndarray


def stratified_folds(target_N: np.ndarray, num_classes: int, num_folds: int, seed: int) -> list[Fold]:
    """Deal the rows of each class (or, for regression, of each tenth of the target) evenly over the folds.

    A class with one row is always fitted on and never judged, so that every candidate knows every class.

    Args:
        target_N: [N] class index, or a number.
        num_classes: 0 for regression.
        num_folds: at least 2; fewer are made where there are fewer rows.
        seed: of the shuffle.
    """
    rng = np.random.default_rng(seed)
    num_folds = max(2, min(num_folds, len(target_N)))
    fold_N = np.full(len(target_N), -1)
    start = 0
    for group in _strata(target_N, num_classes):
        if num_classes and len(group) == 1:
            continue
        # Starting where the last class ended keeps the folds even when classes are small.
        fold_N[rng.permutation(group)] = (start + np.arange(len(group))) % num_folds
        start += len(group)
    folds = [Fold(np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)) for k in range(num_folds)]
    return [fold for fold in folds if len(fold.judge)]


def holdout(target_N: np.ndarray, num_classes: int, seed: int) -> list[Fold]:
    """One stratified split that keeps a fifth of the rows for judging."""
    return stratified_folds(target_N, num_classes, round(1 / HOLDOUT), seed)[:1]


def _strata(target_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
    if num_classes:
        return [np.flatnonzero(target_N == c) for c in range(num_classes)]
    return np.array_split(np.argsort(target_N, kind="stable"), max(1, min(10, len(target_N) // 10)))
