"""From rows and predictions to the evaluation block of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError, DataError
from penjing.core.events import Listener, Progress, ignore
from penjing.core.report import REPORT, Calibration, Evaluation, MetricValue, read_report
from penjing.core.task import Prediction, Stats, Table, Task
from penjing.evaluate.bootstrap import Interval, bootstrap
from penjing.evaluate.calibration import fit_temperature, reliability, rescale, to_logits
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.mistakes import worst_mistakes
from penjing.evaluate.outcomes import class_rows, confusion, outcomes
from penjing.evaluate.slices import require_column, slice_rows


def evaluate(
    task: Task,
    table: Table,
    predictions: Sequence[Prediction],
    config: EvaluateConfig | None = None,
    listener: Listener = ignore,
) -> Evaluation:
    """Score predictions on labelled rows.

    Args:
        task: what was learned.
        table: labelled rows.
        predictions: one a row, in the same order.
        config: resamples, slices, mistakes; the defaults where None.
        listener: told the progress of the bootstrap.

    Raises:
        DataError: no rows, not one prediction a row, or a slice column that does not exist.
    """
    config = config or EvaluateConfig()
    stats = _score(task, table, predictions)
    groups = unit_groups(config.group or task.roles.group, table, stats)
    intervals = bootstrap(
        task,
        stats,
        resamples=config.resamples,
        level=config.level,
        seed=config.seed,
        groups=groups,
        on_step=lambda done: listener(Progress("evaluate", done, config.resamples, "resamples")),
    )
    metrics = {name: _metric(task, name, found, len(stats)) for name, found in intervals.items()}
    by_row = len(stats) == len(table)  # units of a ranking are users or queries, and have no single row
    found = outcomes(task.labels, stats)
    return Evaluation(
        primary=task.primary,
        unit="rows" if by_row else "units",
        level=config.level,
        resamples=config.resamples,
        seed=config.seed,
        settings=config.model_dump(mode="json"),
        metrics=metrics,
        classes=class_rows(
            found,
            resamples=config.resamples,
            level=config.level,
            seed=config.seed,
            min_rows=config.min_slice_rows,
            groups=groups,
        )
        if found
        else [],
        confusion=confusion(found) if found else None,
        slices=slice_rows(task, table, stats, metrics[task.primary], config, groups) if by_row else [],
        calibration=calibrate(task, stats, predictions) if by_row else None,
        mistakes=worst_mistakes(task, table, predictions, stats, found, config.num_mistakes) if by_row else [],
        num_mistakes=int((~found.correct).sum()) if found else None,
    )


def temperature_for(task: Task, valid: Table, predictions: Sequence[Prediction]) -> float:
    """The temperature that best calibrates a task, from its predictions on validation rows.

    Args:
        task: the task that predicted, with its present temperature.
        valid: labelled rows that were not trained on (and never the test rows).
        predictions: one a row.

    Returns:
        The temperature to give to `task.with_temperature`, in place of the present one.

    Raises:
        CapabilityError: the task has no probabilities to calibrate.
    """
    kind = task.calibration
    stats = _score(task, valid, predictions)
    targets = targets_of(task, stats)
    if kind is None or targets is None:
        raise CapabilityError(
            f"a {task.kind} model has no probabilities to calibrate", next_step="leave calibration off"
        )
    return fit_temperature(rescale(_probs(predictions), 1 / task.temperature, kind), targets, kind)


def calibrate(task: Task, stats: Stats, predictions: Sequence[Prediction]) -> Calibration | None:
    """How well calibrated predictions are, and how they would be without the task's temperature.

    Args:
        task: its temperature is the one the predictions were made with.
        stats: one unit a row.
        predictions: one a row.

    Returns:
        None for a task without probabilities.
    """
    kind = task.calibration
    targets = targets_of(task, stats)
    if kind is None or targets is None:
        return None
    after = _probs(predictions)
    error_after, bins_after = reliability(after, targets, kind)
    # Undoing the temperature gives the probabilities of before, so nothing is predicted twice.
    error_before, bins_before = reliability(rescale(after, 1 / task.temperature, kind), targets, kind)
    return Calibration(
        kind=kind,
        temperature=task.temperature,
        ece_before=error_before,
        ece_after=error_after,
        bins_before=bins_before,
        bins_after=bins_after,
    )


def unit_groups(column: str | None, table: Table, stats: Stats) -> list[object] | None:
    """[N] group of each unit, where a column says that rows belong together.

    Raises:
        DataError: no row has this column.
    """
    if column is None or len(stats) != len(table):
        return None
    require_column(table, column, "evaluate.group")
    # A row without a group is its own group.
    return [(i if row.get(column) is None else str(row[column])) for i, row in enumerate(table.rows)]


def recorded_group(artifact: Artifact) -> str | None:
    """The column whose rows the artifact's own report drew together; None where it has none, or no report."""
    if REPORT not in artifact.manifest["files"]:
        return None
    found = read_report(artifact.file(REPORT)).evaluation.settings.get("group")
    return found if isinstance(found, str) else None


def _score(task: Task, table: Table, predictions: Sequence[Prediction]) -> Stats:
    if not len(table):
        raise DataError("there is no row to evaluate on", where=table.name or None, next_step="give labelled rows")
    if len(predictions) != len(table):
        raise DataError(f"{len(predictions)} predictions for {len(table)} rows", where=table.name or None)
    return task.score(table.rows, predictions)


def targets_of(task: Task, stats: Stats) -> np.ndarray | None:
    """[N] classes (-1: unknown to the task), or [N, C] of 0 and 1, of what was scored; None: the task has neither."""
    if task.calibration == "softmax" and "true" in stats.columns:
        return stats.columns["true"].astype(int)
    if task.calibration == "sigmoid" and {"tp", "fn"} <= stats.columns.keys():
        return np.asarray((stats.columns["tp"] + stats.columns["fn"]) > 0).astype(int)
    return None


def raw_logits(task: Task, predictions: Sequence[Prediction]) -> np.ndarray:
    """[N, C] float64 logits that became the predictions of a task with `calibration`; of a softmax up to a constant."""
    assert task.calibration is not None
    return to_logits(_probs(predictions), task.calibration) * task.temperature


def _probs(predictions: Sequence[Prediction]) -> np.ndarray:
    rows = [p.probs for p in predictions]
    assert all(row is not None for row in rows), "a task with `calibration` gives `probs`"
    return np.stack([row for row in rows if row is not None]).astype(np.float64)


def _metric(task: Task, name: str, found: Interval, n: int) -> MetricValue:
    about = task.metrics[name]
    return MetricValue(
        value=found.value,
        low=found.low,
        high=found.high,
        n=n,
        higher_is_better=about.higher_is_better,
        percent=about.percent,
    )
