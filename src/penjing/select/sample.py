"""Which labelled rows a selection or a quote looks at, and how they are divided for cross-validation."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.core.task import Roles, Splits, Table
from penjing.data.textkey import are_copies, content_key

MIN_VALID_ROWS = 1_000
PSEUDO_FOLDS = 10
# Rows of each class that are drawn, however rare it is: one to learn from, one to judge.
LEAST_ROWS = 2
# Labels with fewer rows than this on average are numbers or the like, not classes.
MEAN_ROWS = 5


@dataclass(frozen=True)
class Pool:
    """Rows of train and valid, in random order, with their parts in cross-validation.

    Args:
        table: the rows; the sealed test is never among them.
        fold: [N] int, the fold in which a row is judged; -1 for rows that are only learned from.
        num_folds: how many folds there are.
        crossed: whether a model judged on one fold learns from the others (else from the rows of fold -1).
        group: the column whose rows belong together, where there is one.
    """

    table: Table
    fold: np.ndarray
    num_folds: int
    crossed: bool
    group: str | None = None

    def groups(self, positions: np.ndarray) -> list[object] | None:
        """[M] group of each of [M] rows, a row without one being its own; None where rows are independent."""
        if self.group is None:
            return None
        known = [(int(i), self.table.rows[i].get(self.group)) for i in positions]
        return [i if name is None else str(name) for i, name in known]

    def parts(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions to learn from, positions to judge) of one fold, each in random order."""
        learn = self.fold != fold if self.crossed else self.fold == -1
        return np.flatnonzero(learn), np.flatnonzero(self.fold == fold)

    def take(self, count: int) -> Pool:
        """The first rows, which are a random sample; of rows that are not crossed, learned and judged in proportion."""
        if count >= len(self.table):
            return self
        return Pool(self.table.take(range(count)), self.fold[:count], self.num_folds, self.crossed, self.group)


def draw_pool(splits: Splits, *, max_rows: int, num_folds: int, seed: int) -> Pool:
    """Draw rows to judge models on.

    Where rows are ordered in time, or validation rows are plenty (`MIN_VALID_ROWS`: a part the user gave, or a split
    with `data.split.max_valid` raised, which is 500 by default), models learn from train and are judged on valid, as
    in the run itself. Else rows of both are cross-validated; rows of a group stay together, and without groups copies
    of one content. The draw, its order and its folds have the classes in proportion.

    Args:
        splits: the test rows are not touched.
        max_rows: rows of the pool, at most.
        num_folds: folds of the cross-validation.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    train, valid = splits.train, splits.valid
    if len(valid) and (splits.roles.time is not None or len(valid) >= MIN_VALID_ROWS):
        return replace(_held_out(train, valid, splits.roles.label, max_rows, rng), group=splits.roles.group)
    table = Table([*train.rows, *valid.rows], [*train.row_ids, *valid.row_ids], train.name)
    table = table.take(_order(table, splits.roles.label, max_rows, rng))
    column = splits.roles.group
    if column is None:
        fold, num_folds = _dealt(table, splits.roles, num_folds)
    else:
        fold, num_folds = _grouped(table, splits.roles, num_folds)
    return Pool(table, fold, num_folds, crossed=True, group=column)


def _classes(table: Table, column: str | None) -> np.ndarray:
    """[N] number of each row's class; all 0 where labels are not classes."""
    if column is None or not len(table):
        return np.zeros(len(table), np.int64)
    names, classes = np.unique([str(row.get(column)) for row in table.rows], return_inverse=True)
    if len(names) * MEAN_ROWS > len(table):
        return np.zeros(len(table), np.int64)
    return np.asarray(classes, np.int64)


def _order(table: Table, column: str | None, count: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of `count` rows in random order; any number of the first has the classes about in proportion."""
    classes = _classes(table, column)
    place = np.empty(len(table))
    squeeze = min(1.0, count / max(1, len(table)))
    for value in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == value))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
        place[rows[:LEAST_ROWS]] *= squeeze
    return np.argsort(place, kind="stable")[:count]


def _dealt(table: Table, roles: Roles, num_folds: int) -> tuple[np.ndarray, int]:
    """[N] folds and their number: contents of each class are dealt evenly, and copies of one stay together."""
    keys: list[Any] = [content_key(row, roles) for row in table.rows]
    if len(set(keys)) < 2 or not are_copies(keys, roles):
        keys = list(range(len(table)))
    first = {key: i for i, key in reversed(list(enumerate(keys)))}
    num_folds = max(2, min(num_folds, len(first)))
    classes = _classes(table, roles.label)
    dealt = sorted(first, key=lambda key: (classes[first[key]], first[key]))
    fold = {key: k % num_folds for k, key in enumerate(dealt)}
    return np.array([fold[key] for key in keys], np.int64), num_folds


def _grouped(table: Table, roles: Roles, num_folds: int) -> tuple[np.ndarray, int]:
    """[N] folds and their number: rows of a group stay together, and each fold has the classes as nearly as that lets.

    A single group cannot stay together and be judged: its rows are dealt as if there were none.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    assert roles.group is not None
    known = [row.get(roles.group) for row in table.rows]
    names = [f"row {i}" if group is None else f"= {group}" for i, group in enumerate(known)]  # without one: on its own
    found, groups = np.unique(names, return_inverse=True)
    if len(found) < 2:
        return _dealt(table, roles, num_folds)
    classes, num_folds = _classes(table, roles.label), max(2, min(num_folds, len(found)))
    if not classes.any():
        # In turn, not by the hash itself: that may put all of a few groups into one fold, with nothing to learn from.
        turn = {name: k % num_folds for k, name in enumerate(sorted(found, key=_hash))}
        return np.array([turn[name] for name in names]), num_folds
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    num_folds = max(2, min(num_folds, int(np.bincount(classes).max())))
    fold = np.zeros(len(table), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is still learned from
        for number, (_, judged) in enumerate(StratifiedGroupKFold(num_folds).split(classes, classes, groups)):
            fold[judged] = number
    return fold, num_folds


def _held_out(train: Table, valid: Table, label: str | None, max_rows: int, rng: np.random.Generator) -> Pool:
    judged = min(len(valid), max_rows // 2)
    learned = min(len(train), max_rows - judged)
    parts = (train.take(_order(train, label, learned, rng)), valid.take(_order(valid, label, judged, rng)))
    rows = [row for part in parts for row in part.rows]
    ids = [row_id for part in parts for row_id in part.row_ids]
    fold = np.concatenate([np.full(learned, -1), np.arange(judged) % PSEUDO_FOLDS])
    place = [(np.arange(len(part)) + rng.random()) / max(1, len(part)) for part in parts]
    order = np.argsort(np.concatenate(place), kind="stable")
    return Pool(Table(rows, ids, train.name).take(order), fold[order], PSEUDO_FOLDS, crossed=False)


def _hash(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:6], "big")
