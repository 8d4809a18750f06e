"""Which of two models is better, and could it be luck? Paired tests on the same test rows.

Both models answer the same rows, so their errors are correlated and the interval of the *difference* is far narrower
than two intervals side by side suggest. The bootstrap resamples rows once for both; where each row is right or wrong,
the exact McNemar test (binomial over the rows on which exactly one is right) says the same without resampling.

Source: Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning Algorithms".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError, DataError
from penjing.core.events import Listener, Progress, ignore
from penjing.core.report import Comparison, Difference, McNemar
from penjing.core.task import Metric, Prediction, Row, Stats, Table, Task
from penjing.evaluate.bootstrap import interval, resample_indices, wilson
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import unit_groups
from penjing.evaluate.outcomes import outcomes
from penjing.evaluate.sealed_test import open_sealed_test, sealed_entry
from penjing.evaluate.verdict import rows_to_settle
from penjing.predict.predictor import Predictor


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    Args:
        name: shown to the reader.
        task: the model's own task (its labels and thresholds).
        predictions: one a test row.
        rows: the test rows under the task's own names of the columns, where they are not the table's.
    """

    name: str
    task: Task
    predictions: Sequence[Prediction]
    rows: Sequence[Row] | None = None


def compare_predictions(table: Table, a: Contender, b: Contender, config: EvaluateConfig | None = None) -> Comparison:
    """Compare two sets of predictions on the same labelled rows.

    Args:
        table: the test rows of both.
        a: the reference.
        b: the candidate; differences are b minus a.
        config: resamples, level and seed; the defaults where None.

    Raises:
        CapabilityError: the two learned different kinds of thing.
    """
    config = config or EvaluateConfig()
    require_one_kind((a.name, a.task.kind), (b.name, b.task.kind))
    stats_a, stats_b = (c.task.score(table.rows if c.rows is None else c.rows, c.predictions) for c in (a, b))
    groups = unit_groups(config.group or a.task.roles.group, table, stats_a)
    names = [name for name in a.task.metrics if name in b.task.metrics]
    draws: dict[str, list[float]] = {name: [] for name in names}
    for index in resample_indices(len(stats_a), config.resamples, config.seed, groups):
        on_a, on_b = a.task.aggregate(stats_a.take(index)), b.task.aggregate(stats_b.take(index))
        for name in names:
            draws[name].append(on_b[name] - on_a[name])
    whole_a, whole_b = a.task.aggregate(stats_a), b.task.aggregate(stats_b)
    # A class that only one of them knows may leave the other's deciding metric without its like (AUC of two classes).
    primary = next(name for name in (a.task.primary, b.task.primary, *names) if name in names)
    num_units = len(stats_a) if groups is None else len(set(groups))
    return Comparison(
        a=a.name,
        b=b.name,
        n=len(stats_a),
        primary=primary,
        level=config.level,
        metrics={
            name: _difference(
                a.task.metrics[name],
                whole_a[name],
                whole_b[name],
                np.array(draws[name]),
                len(stats_a),
                config.level,
                num_units,
            )
            for name in names
        },
        mcnemar=_mcnemar_of(a.task, b.task, stats_a, stats_b),
    )


def compare_artifacts(
    predictors: tuple[Predictor, Predictor],
    tables: tuple[Table, Table],
    config: EvaluateConfig | None = None,
    listener: Listener = ignore,
) -> Comparison:
    """Let two artifacts predict the same labelled rows, and compare.

    Args:
        predictors: of the reference and of the candidate.
        tables: the rows, as either names its columns.
        config: resamples, level, seed and group; the defaults where None.
        listener: told of progress.

    Raises:
        CapabilityError: the two learned different kinds of thing.
    """
    sides = []
    for predictor, table in zip(predictors, tables, strict=True):
        name = str(predictor.artifact.path)
        predictions = []
        for done, (_, prediction) in enumerate(predictor.stream(table.rows), 1):
            predictions.append(prediction)
            if done % 200 == 0 or done == len(table):
                listener(Progress("compare", done, len(table), note=name))
        sides.append(Contender(name, predictor.task, predictions, table.rows))
    return compare_predictions(tables[0], sides[0], sides[1], config)


def shared_test(a: Artifact, b: Artifact, path: Path | str | None = None) -> Table:
    """The sealed test rows that two artifacts were both reported on.

    Args:
        a: the reference.
        b: the candidate.
        path: the sealed test file; by default beside the reference, else beside the candidate.

    Raises:
        DataError: the two were reported on different test rows, or the file is missing.
        ArtifactError: one of them was made without test rows.
    """
    (name_a, digest_a), (name_b, digest_b) = sealed_entry(a), sealed_entry(b)
    if digest_a != digest_b:
        raise DataError(
            f"sealed test rows {digest_b[:12]}... differ from {digest_a[:12]}... of {a.path}",
            where=str(b.path),
            expected="two artifacts reported on the same test rows",
            next_step="give labelled rows that are new to both as the third argument, or train both on the same splits "
            "(same data, same seed)",
        )
    beside = [artifact.path.resolve().parent / name for artifact, name in ((a, name_a), (b, name_b))]
    chosen = Path(path) if path is not None else next((p for p in beside if p.is_file()), beside[0])
    return open_sealed_test(a, chosen)


def require_one_kind(a: tuple[str, str], b: tuple[str, str]) -> None:
    """Refuse two models of different kinds, each given as (name, kind).

    Raises:
        CapabilityError: the two learned different kinds of thing.
    """
    if a[1] != b[1]:
        raise CapabilityError(
            f"{a[0]} is a {a[1]} model and {b[0]} a {b[1]} model",
            expected="two models of one kind",
            next_step="compare models that answer the same question",
        )


def _difference(
    metric: Metric, a: float, b: float, draws: np.ndarray, n: int, level: float, num_units: int
) -> Difference:
    found = interval(b - a, draws, level)
    low, high = found.low, found.high
    if metric.share and not draws.any():  # a share differs at most by the units on which the two disagree
        _, most = wilson(0.0, num_units, level)
        low, high = -most, most
    outcome: Literal["better", "worse", "undecided"] = "undecided"
    rows = None
    if found.value is not None and low is not None and high is not None:
        if low > 0 or high < 0:
            outcome = "better" if (low > 0) == metric.higher_is_better else "worse"
        else:
            rows = rows_to_settle(n, found.value, (found.value - low) if found.value > 0 else (high - found.value))
    return Difference(
        percent=metric.percent,
        a=float(a) if math.isfinite(a) else None,
        b=float(b) if math.isfinite(b) else None,
        difference=found.value,
        low=low,
        high=high,
        p_value=None if low is None else bootstrap_p_value(draws),
        outcome=outcome,
        rows_to_settle=rows,
    )


def bootstrap_p_value(draws: np.ndarray) -> float:
    """Two-sided p-value of "no difference" from bootstrap differences.

    Twice the smaller share of draws on either side of zero; one is added above and below, so that a finite number of
    draws never claims zero.

    Args:
        draws: [B] differences, NaN where undefined.
    """
    defined = draws[np.isfinite(draws)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(defined) + 1))


def _mcnemar_of(task_a: Task, task_b: Task, stats_a: Stats, stats_b: Stats) -> McNemar | None:
    on_a, on_b = outcomes(task_a.labels, stats_a), outcomes(task_b.labels, stats_b)
    if on_a is None or on_b is None:
        return None
    return mcnemar(on_a.correct, on_b.correct)


def mcnemar(a_correct: np.ndarray, b_correct: np.ndarray) -> McNemar:
    """Exact two-sided McNemar test.

    Args:
        a_correct: [N] bool.
        b_correct: [N] bool, on the same rows.
    """
    only_a = int((a_correct & ~b_correct).sum())
    only_b = int((b_correct & ~a_correct).sum())
    total, fewer = only_a + only_b, min(only_a, only_b)
    # Binomial(total, 1/2) tail in logarithms: the coefficients overflow floats from about a thousand rows on.
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) - total * math.log(2)
        for k in range(fewer + 1)
    ]
    p_value = min(1.0, 2 * math.fsum(math.exp(value) for value in logs))
    return McNemar(only_a_right=only_a, only_b_right=only_b, p_value=p_value)
