"""What `Stats` say of classes: who was taken for whom, and which units are wholly right.

Reads only the column names that `core.task.Stats` gives a fixed meaning, so no task kind is named here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penjing.core.report import ClassRow, Confusion
from penjing.core.task import Stats
from penjing.evaluate.bootstrap import interval, resample_indices

UNSEEN = "(other)"
"""Stands for a label of the test rows that training never saw."""


@dataclass(frozen=True)
class Outcomes:
    """Counts a unit and a class.

    Args:
        labels: class names; the last may be `UNSEEN`.
        tp: [N, C] right.
        fp: [N, C] said but wrong.
        fn: [N, C] missed.
        true: [N] class position where a unit has exactly one label, else None.
        predicted: [N] likewise.
    """

    labels: tuple[str, ...]
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    true: np.ndarray | None
    predicted: np.ndarray | None

    @property
    def correct(self) -> np.ndarray:
        """[N] bool: nothing wrong and nothing missed."""
        return np.asarray((self.fp.sum(axis=1) == 0) & (self.fn.sum(axis=1) == 0))


def outcomes(labels: tuple[str, ...], stats: Stats) -> Outcomes | None:
    """Outcomes of a task with classes; None for a task without (regression)."""
    columns = stats.columns
    if not labels:
        return None
    if {"tp", "fp", "fn"} <= columns.keys():
        return _several(labels, columns)
    if {"true", "predicted"} <= columns.keys():
        return _single(labels, columns["true"].astype(int), columns["predicted"].astype(int))
    return None


def _several(labels: tuple[str, ...], columns: dict[str, np.ndarray]) -> Outcomes:
    tp, fp, fn = columns["tp"], columns["fp"], columns["fn"]
    unseen = columns.get("unseen")
    if unseen is not None and unseen.any():
        missed = unseen.reshape(len(unseen), -1).sum(axis=1, keepdims=True).astype(fn.dtype)
        none = np.zeros_like(missed)
        labels = (*labels, UNSEEN)
        tp, fp, fn = (np.concatenate(pair, axis=1) for pair in ((tp, none), (fp, none), (fn, missed)))
    return Outcomes(labels, tp, fp, fn, None, None)


def _single(labels: tuple[str, ...], true: np.ndarray, predicted: np.ndarray) -> Outcomes:
    if (true < 0).any() or (predicted < 0).any():
        labels = (*labels, UNSEEN)
        true = np.where(true < 0, len(labels) - 1, true)
        predicted = np.where(predicted < 0, len(labels) - 1, predicted)
    classes = np.arange(len(labels))
    is_true, is_said = true[:, None] == classes, predicted[:, None] == classes
    return Outcomes(labels, is_true & is_said, is_said & ~is_true, is_true & ~is_said, true, predicted)


def confusion(found: Outcomes) -> Confusion | None:
    """The confusion matrix, where every unit has one label."""
    if found.true is None or found.predicted is None:
        return None
    pairs, counts = np.unique(np.stack([found.true, found.predicted], axis=1), axis=0, return_counts=True)
    cells = [(int(t), int(p), int(n)) for (t, p), n in zip(pairs, counts, strict=True)]
    return Confusion(labels=list(found.labels), cells=cells)


def class_rows(
    found: Outcomes,
    *,
    resamples: int,
    level: float,
    seed: int,
    min_rows: int = 30,
    groups: Sequence[object] | None = None,
) -> list[ClassRow]:
    """Precision, recall and F1 of every class, F1 with its bootstrap interval.

    Args:
        found: counts a unit and a class.
        resamples: bootstrap resamples; drawn exactly as for the metrics.
        level: coverage of the interval.
        seed: of the draws.
        min_rows: classes with fewer true rows are flagged as small.
        groups: [N] group of each unit, drawn whole.
    """
    tp, fp, fn = (counts.astype(np.float32) for counts in (found.tp, found.fp, found.fn))
    totals = [counts.sum(axis=0) for counts in (tp, fp, fn)]
    draws = np.empty((resamples, len(found.labels)), dtype=np.float32)
    for i, index in enumerate(resample_indices(len(tp), resamples, seed, groups)):
        weights = np.bincount(index, minlength=len(tp)).astype(np.float32)
        draws[i] = _f1(weights @ tp, weights @ fp, weights @ fn)
    rows = []
    for c, label in enumerate(found.labels):
        hits, wrong, missed = (float(total[c]) for total in totals)
        f1 = 2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else math.nan
        figure = interval(f1, draws[:, c], level)
        rows.append(
            ClassRow(
                label=label,
                support=int(hits + missed),
                predicted=int(hits + wrong),
                precision=hits / (hits + wrong) if hits + wrong else None,
                recall=hits / (hits + missed) if hits + missed else None,
                f1=figure.value,
                f1_low=figure.low,
                f1_high=figure.high,
                small=hits + missed < min_rows,
            )
        )
    return rows


def _f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    total = 2 * tp + fp + fn
    return np.asarray(np.divide(2 * tp, total, out=np.full_like(total, np.nan), where=total > 0))
