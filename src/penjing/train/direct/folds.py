"""Which rows validate which settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from penjing.core.task import Roles, Table
from penjing.data.split import connected, moment_of
from penjing.data.textkey import are_copies, content_key
from penjing.train.direct.config import DirectConfig

HOLDOUT = 0.2


@dataclass(frozen=True)
class Fold:
    """Positions of the rows a candidate is fitted on, and of those it is judged on."""

    fit: np.ndarray
    judge: np.ndarray


def plan_folds(
    table: Table,
    roles: Roles,
    target_N: np.ndarray,
    num_classes: int,
    *,
    num_train: int,
    config: DirectConfig,
    seed: int,
) -> list[Fold]:
    """Small tables are cross-validated; large ones, and those in time, are fitted on train and judged on valid.

    As in the split of the data, rows of a group and copies of one content stay together, and the past is not judged by
    a model that knows the future: settings chosen otherwise are those that remember best.

    Args:
        table: rows of train, then of valid.
        roles: group, time, and what makes two rows copies.
        target_N: [N] class index, or a number.
        num_classes: 0 for regression.
        num_train: rows of train; where there are no others, the last of them in time, or a fifth, are judged.
        config: up to how many rows, and by how many folds, is cross-validated.
        seed: of the shuffle.
    """
    crossed = num_train <= config.small_rows and roles.time is None
    if not crossed and num_train < len(table):
        return [Fold(np.arange(num_train), np.arange(num_train, len(table)))]
    if roles.time is not None:
        moments = [moment_of(row.get(roles.time)) for row in table.rows]
        order = np.argsort([-np.inf if moment is None else moment for moment in moments], kind="stable")
        cut = len(order) - max(1, round(HOLDOUT * len(order)))
        return [Fold(np.sort(order[:cut]), np.sort(order[cut:]))]
    units = _units(table, roles)
    if crossed:
        return stratified_folds(target_N, num_classes, config.folds, seed, units)
    return stratified_folds(target_N, num_classes, round(1 / HOLDOUT), seed, units)[:1]


def _units(table: Table, roles: Roles) -> np.ndarray | None:
    """[N] number of what stays together with each row; None where each row is on its own, or all are one."""
    keys = [content_key(row, roles) for row in table.rows]
    ties: list[list[Any]] = [keys] if are_copies(keys, roles) else []
    if roles.group is not None:
        ties.append([row.get(roles.group) for row in table.rows])
    units = np.unique(connected(len(table), *ties), return_inverse=True)[1]
    return units if 0 < units.max() < len(table) - 1 else None


def stratified_folds(
    target_N: np.ndarray, num_classes: int, num_folds: int, seed: int, unit_N: np.ndarray | None = None
) -> list[Fold]:
    """Deal the units of each class (or, for regression, of each tenth of the target) evenly over the folds.

    A class with one unit is always fitted on and never judged, so that every candidate knows every class.

    Args:
        target_N: [N] class index, or a number.
        num_classes: 0 for regression.
        num_folds: at least 2; fewer are made where there are fewer units.
        seed: of the shuffle.
        unit_N: [N] number of the unit each row belongs to, from 0; None: each row is one.
    """
    if unit_N is None:
        unit_N = np.arange(len(target_N))
    target_U = _of_units(target_N, unit_N, num_classes)
    rng = np.random.default_rng(seed)
    num_folds = max(2, min(num_folds, len(target_U)))
    fold_U = np.full(len(target_U), -1)
    start = 0
    for group in _strata(target_U, num_classes):
        if num_classes and len(group) == 1:
            continue
        # Starting where the last class ended keeps the folds even when classes are small.
        fold_U[rng.permutation(group)] = (start + np.arange(len(group))) % num_folds
        start += len(group)
    if not start:  # every class in one unit: better judged by a model that does not know it than not at all
        fold_U = np.arange(len(target_U)) % num_folds
    fold_N = fold_U[unit_N]
    folds = [Fold(np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)) for k in range(num_folds)]
    return [fold for fold in folds if len(fold.judge)]


def _of_units(target_N: np.ndarray, unit_N: np.ndarray, num_classes: int) -> np.ndarray:
    """[U] the class of each unit that fewest units have, or the mean of its numbers."""
    if not num_classes:
        return np.asarray(np.bincount(unit_N, weights=target_N) / np.bincount(unit_N))
    pairs = np.unique(np.stack([unit_N, target_N], axis=1), axis=0)
    rarity = np.bincount(pairs[:, 1])[pairs[:, 1]]
    pairs = pairs[np.lexsort((rarity, pairs[:, 0]))]
    return np.asarray(pairs[np.unique(pairs[:, 0], return_index=True)[1], 1])


def _strata(target_N: np.ndarray, num_classes: int) -> list[np.ndarray]:
    if num_classes:
        return [np.flatnonzero(target_N == c) for c in range(num_classes)]
    return np.array_split(np.argsort(target_N, kind="stable"), max(1, min(10, len(target_N) // 10)))
