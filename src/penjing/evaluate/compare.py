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

from penjing.core.artifact import open_artifact
from penjing.core.errors import CapabilityError, DataError
from penjing.core.events import Listener, Progress, ignore
from penjing.core.report import Comparison, Difference, McNemar
from penjing.core.task import Metric, Prediction, Stats, Table, Task
from penjing.evaluate.bootstrap import interval, resample_indices, wilson
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import recorded_group, unit_groups
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
    """

    name: str
    task: Task
    predictions: Sequence[Prediction]


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
    if a.task.kind != b.task.kind:
        raise CapabilityError(
            f"{a.name} is a {a.task.kind} model and {b.name} a {b.task.kind} model",
            expected="two models of one kind",
            next_step="compare models that answer the same question",
        )
    stats_a, stats_b = (c.task.score(table.rows, c.predictions) for c in (a, b))
    groups = unit_groups(config.group or a.task.roles.group, table, stats_a)
    names = [name for name in a.task.metrics if name in b.task.metrics]
    draws: dict[str, list[float]] = {name: [] for name in names}
    for index in resample_indices(len(stats_a), config.resamples, config.seed, groups):
        on_a, on_b = a.task.aggregate(stats_a.take(index)), b.task.aggregate(stats_b.take(index))
        for name in names:
            draws[name].append(on_b[name] - on_a[name])
    whole_a, whole_b = a.task.aggregate(stats_a), b.task.aggregate(stats_b)
    num_units = len(stats_a) if groups is None else len(set(groups))
    return Comparison(
        a=a.name,
        b=b.name,
        n=len(stats_a),
        primary=a.task.primary,
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
    path_a: Path | str,
    path_b: Path | str,
    test_path: Path | str | None = None,
    config: EvaluateConfig | None = None,
    listener: Listener = ignore,
    *,
    public_key: Path | str | None = None,
) -> Comparison:
    """Compare two artifacts on the sealed test rows they share.

    Args:
        path_a: directory of the reference.
        path_b: directory of the candidate.
        test_path: the sealed test file; by default beside the reference, else beside the candidate.
        config: resamples, level and seed.
        listener: told of progress.
        public_key: PEM file of the key whose holder has to have signed both; None: no matter who made them.

    Raises:
        DataError: the two were reported on different test rows, or the file is missing.
        ArtifactError: one of them is damaged, was made without test rows, or is not signed as asked.
        CapabilityError: the two learned different kinds of thing.
    """
    artifacts = [open_artifact(path, public_key) for path in (path_a, path_b)]
    digests = [sealed_entry(artifact)[1] for artifact in artifacts]
    if digests[0] != digests[1]:
        raise DataError(
            f"sealed test rows {digests[1][:12]}... differ from {digests[0][:12]}... of {path_a}",
            where=str(path_b),
            expected="two artifacts reported on the same test rows",
            next_step="train both on the same splits (same data, same seed)",
        )
    beside = [a.path.resolve().parent / sealed_entry(a)[0] for a in artifacts]
    chosen = Path(test_path) if test_path is not None else next((p for p in beside if p.is_file()), beside[0])
    table = open_sealed_test(artifacts[0], chosen)
    sides = []
    for path, artifact in zip((path_a, path_b), artifacts, strict=True):
        predictor = Predictor(artifact)
        predictions = []
        for done, (_, prediction) in enumerate(predictor.stream(table.rows), 1):
            predictions.append(prediction)
            if done % 200 == 0 or done == len(table):
                listener(Progress("compare", done, len(table), note=str(path)))
        sides.append(Contender(str(path), predictor.task, predictions))
    config = config or EvaluateConfig()
    group = config.group or recorded_group(artifacts[0]) or recorded_group(artifacts[1])
    return compare_predictions(table, sides[0], sides[1], config.model_copy(update={"group": group}))


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
