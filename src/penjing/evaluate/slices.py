"""The primary metric on parts of the test rows: a good average can hide a group that is served badly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from penjing.core.errors import DataError, closest
from penjing.core.report import MetricValue, Slice
from penjing.core.task import Stats, Table, Task
from penjing.evaluate.bootstrap import bootstrap
from penjing.evaluate.config import EvaluateConfig

OTHERS = "…"
"""The categories beyond the largest, together."""


@dataclass(frozen=True)
class Part:
    """Rows that share a property.

    Args:
        dimension: what the rows were divided by.
        value: which part.
        index: [n] positions.
    """

    dimension: str
    value: str
    index: np.ndarray


def slice_rows(
    task: Task,
    table: Table,
    stats: Stats,
    whole: MetricValue,
    config: EvaluateConfig,
    groups: Sequence[object] | None = None,
) -> list[Slice]:
    """The primary metric by length and by each column the config names.

    Args:
        task: says lengths and aggregates.
        table: the test rows.
        stats: one unit a row, in the same order.
        whole: the primary metric on all rows.
        config: columns, resamples, the least rows of a slice.
        groups: [N] group of each unit, drawn whole.

    Raises:
        DataError: the config names a column the rows do not have.
    """
    # Classes are not repeated here: `outcomes.class_rows` gives each its own F1 and interval, whereas most primary
    # metrics are undefined where one class only occurs.
    # Of a pair, `lengths` counts both texts as long as the longer one.
    texts = 1 if task.roles.text_pair is None else 2
    parts = by_number("length", task.lengths(table.rows) // texts) if len(table) else []
    for column in config.slices:
        parts += by_column(table, column, config.max_slice_values)
    return [_measure(task, stats, part, whole, config, groups) for part in parts]


def by_column(table: Table, column: str, limit: int) -> list[Part]:
    """Parts by a column: ranges where it is numeric with many values, else categories.

    Raises:
        DataError: no row has this column.
    """
    require_column(table, column, "evaluate.slices")
    values = [row.get(column) for row in table.rows]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values) and len(set(numbers)) > limit:
        return by_number(column, np.array(numbers, dtype=float))
    return by_category(column, ["" if v is None else str(v) for v in values], limit)


def require_columns(config: EvaluateConfig, table: Table) -> None:
    """Refuse settings that name columns which no test row has, before hours are spent on training.

    Raises:
        DataError: with the closest match.
    """
    for column in config.slices:
        require_column(table, column, "evaluate.slices")
    if config.group is not None:
        require_column(table, config.group, "evaluate.group")


def require_column(table: Table, column: str, key: str) -> None:
    """Refuse a column that no row has.

    Args:
        table: the rows.
        column: named by the user.
        key: of the recipe, where it was named.

    Raises:
        DataError: with the closest match.
    """
    known = sorted({name for row in table.rows for name in row})
    if column not in known:
        near = closest(column, known)
        raise DataError(
            f"no column {column!r}, which {key} names",
            where=table.name or "test rows",
            expected="one of " + ", ".join(known[:20]),
            next_step=f"did you mean {near!r}?" if near else f"correct {key}",
        )


def by_category(dimension: str, values: Sequence[str], limit: int) -> list[Part]:
    """The largest categories, and one part for all the others."""
    names, inverse, counts = np.unique(np.array(values, dtype=object), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    parts = [Part(dimension, str(names[i]), np.flatnonzero(inverse == i)) for i in order[:limit]]
    if len(order) > limit:
        rest = np.flatnonzero(~np.isin(inverse, order[:limit]))
        parts.append(Part(dimension, OTHERS, rest))
    return parts


def by_number(dimension: str, values: np.ndarray) -> list[Part]:
    """Quarters of the rows by a number; fewer where values repeat, none where all are equal."""
    edges = np.unique(np.quantile(values, [0, 0.25, 0.5, 0.75, 1], method="inverted_cdf"))
    if len(edges) < 2:
        return []
    parts = []
    for i, (low, high) in enumerate(pairwise(edges)):
        inside = (values >= low if i == 0 else values > low) & (values <= high)
        if inside.any():
            parts.append(Part(dimension, f"{values[inside].min():.6g}–{values[inside].max():.6g}", inside.nonzero()[0]))
    return parts


def _measure(
    task: Task,
    stats: Stats,
    part: Part,
    whole: MetricValue,
    config: EvaluateConfig,
    groups: Sequence[object] | None,
) -> Slice:
    found = bootstrap(
        task,
        stats.take(part.index),
        # A slice is read by eye beside its interval; 200 resamples place a bound to about a tenth of its width.
        resamples=min(config.resamples, 200),
        level=config.level,
        seed=config.seed,
        groups=None if groups is None else [groups[i] for i in part.index],
    )[task.primary]
    num_rows = len(part.index)
    small = num_rows < config.min_slice_rows
    update = {"value": found.value, "low": found.low, "high": found.high, "n": num_rows}
    metric = whole.model_copy(update=update)
    worse = not small and _worse(metric, whole)
    return Slice(dimension=part.dimension, value=part.value[:200], metric=metric, small=small, worse=worse)


def _worse(metric: MetricValue, whole: MetricValue) -> bool:
    if metric.low is None or metric.high is None or whole.value is None:
        return False
    return metric.high < whole.value if whole.higher_is_better else metric.low > whole.value
