"""Does it fit the pot? Each constraint of the budget against the evidence, with "we cannot know yet" as an answer.

A metric passes when its whole interval is on the right side of the limit, fails when its whole interval is on the
wrong side, and is otherwise inconclusive. The half-width of an interval shrinks with the square root of the rows, so
the number of rows that would settle it follows from the gap between figure and limit.
"""

from __future__ import annotations

import math

from penjing.core.budget import Budget
from penjing.core.errors import BudgetError
from penjing.core.events import Listener, Notice
from penjing.core.report import Comparison, Cost, Evaluation, State, Verdict
from penjing.core.task import Task

_AT_MOST = ("p95_ms", "size_mb", "ram_mb", "train_minutes")


def verdicts(budget: Budget, evaluation: Evaluation, cost: Cost, reference: Comparison | None = None) -> list[Verdict]:
    """One verdict for each limit the budget sets.

    Args:
        budget: what the model must fit.
        evaluation: the metrics with their intervals.
        cost: measured on the hardware of the report.
        reference: the model (b) against the one whose metric must not drop (a); needed by `budget.drop`.
    """
    found = []
    if budget.metric is not None:
        found.append(_floor(budget.metric, evaluation))
    if budget.drop is not None:
        found.append(_drop(budget.drop, evaluation, reference))
    for name in _AT_MOST:
        limit = getattr(budget, name)
        if limit is not None:
            # A latency under one load says nothing about another.
            comparable = name != "p95_ms" or cost.concurrency == budget.concurrency
            value = getattr(cost, name) if comparable else None
            found.append(_limit(name, limit, value, cost.ranges.get(name), at_most=True))
    if budget.rows_per_s is not None:
        found.append(
            _limit("rows_per_s", budget.rows_per_s, cost.rows_per_s, cost.ranges.get("rows_per_s"), at_most=False)
        )
    return found


def verdicts_alone(budget: Budget, evaluation: Evaluation, cost: Cost) -> list[Verdict]:
    """Verdicts of a model with nothing beside it: all but `drop`, which is judged where one is made from another."""
    return verdicts(budget.model_copy(update={"drop": None}), evaluation, cost)


def overall(found: list[Verdict]) -> State | None:
    """FAIL if any fails, else INCONCLUSIVE if any is, else PASS; None without a budget."""
    states = {verdict.state for verdict in found}
    for state in ("FAIL", "INCONCLUSIVE", "PASS"):
        if state in states:
            return state
    return None


def require_floor(budget: Budget, task: Task, listener: Listener) -> None:
    """Refuse a floor of the primary metric that none can reach; warn of one that is no floor.

    Args:
        budget: with or without one.
        task: whose metric it is.
        listener: warned.

    Raises:
        BudgetError: above 100 percent.
    """
    if budget.metric is None or not task.metrics[task.primary].percent:
        return
    if budget.metric > 100:
        raise BudgetError(
            f"is {budget.metric:g}, and {task.primary} is at most 100", where="budget.metric", expected="percent: 90"
        )
    if 0 < budget.metric <= 1:
        text = f"budget.metric={budget.metric:g} is a floor of {budget.metric:g}%: of {task.primary}, 90 means 90%"
        listener(Notice("budget", text, "warning"))


def _floor(limit: float, evaluation: Evaluation) -> Verdict:
    metric = evaluation.metrics[evaluation.primary]
    scale = 100.0 if metric.percent else 1.0
    value, low, high = (None if v is None else v * scale for v in (metric.value, metric.low, metric.high))
    return _against("metric", limit, value, low, high, metric.n, at_least=metric.higher_is_better)


def _drop(limit: float, evaluation: Evaluation, reference: Comparison | None) -> Verdict:
    if reference is None:
        return Verdict(constraint="drop", limit=limit, value=None, state="INCONCLUSIVE")
    metric = evaluation.metrics[evaluation.primary]
    change = reference.metrics[evaluation.primary]
    # A drop is what was lost: a minus b where higher is better, b minus a where lower is.
    scale = (-100.0 if metric.percent else -1.0) * (1.0 if metric.higher_is_better else -1.0)
    value = None if change.difference is None else change.difference * scale
    bounds = sorted(v * scale for v in (change.low, change.high) if v is not None)
    low, high = bounds if len(bounds) == 2 else (None, None)
    return _against("drop", limit, value, low, high, reference.n, at_least=False)


def _against(
    name: str,
    limit: float,
    value: float | None,
    low: float | None,
    high: float | None,
    n: int,
    *,
    at_least: bool,
) -> Verdict:
    state: State = "INCONCLUSIVE"
    rows = None
    if value is not None and low is not None and high is not None:
        if low >= limit if at_least else high <= limit:
            state = "PASS"
        elif high < limit if at_least else low > limit:
            state = "FAIL"
        else:
            rows = rows_to_settle(n, value - limit, (value - low) if value > limit else (high - value))
    return Verdict(constraint=name, limit=limit, value=value, low=low, high=high, state=state, rows_to_settle=rows)


def _limit(
    name: str, limit: float, value: float | None, between: tuple[float, float] | None, *, at_most: bool
) -> Verdict:
    if value is None:
        return Verdict(constraint=name, limit=limit, value=None, state="INCONCLUSIVE")
    low, high = between or (value, value)
    fits = [end <= limit if at_most else end >= limit for end in (low, high)]
    state: State = "PASS" if all(fits) else "INCONCLUSIVE" if any(fits) else "FAIL"
    bounds = {} if between is None else {"low": low, "high": high}
    return Verdict(constraint=name, limit=limit, value=value, state=state, **bounds)


def rows_to_settle(n: int, gap: float, half_width: float) -> int | None:
    """Rows at which a half-width of `half_width` on n rows shrinks to the gap; None where there is no gap.

    Args:
        n: rows behind the present interval.
        gap: figure minus limit.
        half_width: distance from the figure to the bound that faces the limit.
    """
    if gap == 0:
        return None
    return max(n + 1, math.ceil(n * (half_width / abs(gap)) ** 2))
