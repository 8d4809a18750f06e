"""Which labelled rows a selection or a quote looks at, and how they are divided for cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from penjing.core.task import Splits, Table

MIN_VALID_ROWS = 1_000
PSEUDO_FOLDS = 10


@dataclass(frozen=True)
class Pool:
    """Rows of train and valid, in random order, with their parts in cross-validation.

    Args:
        table: the rows; the sealed test is never among them.
        fold: [N] int, the fold in which a row is judged; -1 for rows that are only learned from.
        num_folds: how many folds there are.
        crossed: whether a model judged on one fold learns from the others (else from the rows of fold -1).
    """

    table: Table
    fold: np.ndarray
    num_folds: int
    crossed: bool

    def parts(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """(positions to learn from, positions to judge) of one fold, each in random order."""
        learn = self.fold != fold if self.crossed else self.fold == -1
        return np.flatnonzero(learn), np.flatnonzero(self.fold == fold)

    def take(self, count: int) -> Pool:
        """The first rows, which are a random sample; of rows that are not crossed, learned and judged in proportion."""
        if count >= len(self.table):
            return self
        return Pool(self.table.take(range(count)), self.fold[:count], self.num_folds, self.crossed)


def draw_pool(splits: Splits, *, max_rows: int, num_folds: int, seed: int) -> Pool:
    """Draw rows to judge models on.

    Where rows are ordered in time, or validation rows are plenty, models learn from train and are judged on valid, as
    in the run itself. Else rows of both are cross-validated, and rows of a group stay together.

    Args:
        splits: the test rows are not touched.
        max_rows: rows of the pool, at most.
        num_folds: folds of the cross-validation.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    train, valid = splits.train, splits.valid
    if len(valid) and (splits.roles.time is not None or len(valid) >= MIN_VALID_ROWS):
        return _held_out(train, valid, max_rows, rng)
    table = Table([*train.rows, *valid.rows], [*train.row_ids, *valid.row_ids], train.name)
    order = rng.permutation(len(table))[:max_rows]
    table = table.take(order)
    num_folds = max(2, min(num_folds, len(table)))
    column = splits.roles.group
    if column is None:
        fold = np.arange(len(table)) % num_folds
    else:
        fold = np.array([_hash(row.get(column), i) % num_folds for i, row in enumerate(table.rows)])
    return Pool(table, fold, num_folds, crossed=True)


def _held_out(train: Table, valid: Table, max_rows: int, rng: np.random.Generator) -> Pool:
    judged = min(len(valid), max_rows // 2)
    learned = min(len(train), max_rows - judged)
    parts = (train.take(rng.permutation(len(train))[:learned]), valid.take(rng.permutation(len(valid))[:judged]))
    rows = [row for part in parts for row in part.rows]
    ids = [row_id for part in parts for row_id in part.row_ids]
    fold = np.concatenate([np.full(learned, -1), np.arange(judged) % PSEUDO_FOLDS])
    order = rng.permutation(len(rows))
    return Pool(Table(rows, ids, train.name).take(order), fold[order], PSEUDO_FOLDS, crossed=False)


def _hash(group: object, position: int) -> int:
    # A row without a group is its own group.
    key = f"row {position}" if group is None else str(group)
    return int.from_bytes(sha256(key.encode()).digest()[:6], "big")
