"""A report on a terminal: the sentence a manager reads, then the figures behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penjing.cli.summary_compressed import show_compression
from penjing.core.report import Comparison, Difference, Report
from penjing.evaluate.page.headline import headline, infeasible, smaller
from penjing.evaluate.page.words import Words, count, interval, metric, number, p_value
from penjing.evaluate.verdict import overall

if TYPE_CHECKING:
    from penjing.cli.console import Console

_COST_UNITS = {
    "p50_ms": "unit.ms",
    "p95_ms": "unit.ms",
    "rows_per_s": "unit.rows_per_s",
    "load_ms": "unit.ms",
    "size_mb": "unit.mb",
    "ram_mb": "unit.mb",
    "train_minutes": "unit.minutes",
}


def words_of(console: Console) -> Words:
    """The report's own words, in the console's language."""
    return Words("zh" if console.language == "zh" else "en")


def show_report(console: Console, report: Report) -> None:
    """Headline, metrics, cost, what compressing gained and what it tried, quote beside what came true, verdict."""
    words = words_of(console)
    for sentence in (headline(report, words), smaller(report, words), infeasible(report, words)):
        if sentence is not None:
            console.line(sentence)
    _metrics(console, report, words)
    _cost(console, report, words)
    show_compression(console, report, words)
    if report.quote:
        _quote(console, report, words)
    if report.verdicts:
        _verdicts(console, report, words)


def _metrics(console: Console, report: Report, words: Words) -> None:
    evaluation = report.evaluation
    rows = [
        (
            words.named("metric", name) + (" *" if name == evaluation.primary else ""),
            metric(found.value, found.percent),
            interval(found.low, found.high, found.percent),
        )
        for name, found in evaluation.metrics.items()
    ]
    heading = console.say(
        f"test, {evaluation.metrics[evaluation.primary].n:,} {evaluation.unit}",
        f"测试集，{evaluation.metrics[evaluation.primary].n:,} 条",
    )
    console.table((heading, "", f"{evaluation.level:.0%}"), rows, right=(1, 2))


def _cost(console: Console, report: Report, words: Words) -> None:
    cost = report.cost
    rows = [
        (words.named("cost", name), *_figure(name, value, words(unit), words))
        for name, unit in _COST_UNITS.items()
        if (value := getattr(cost, name)) is not None
    ]
    console.table((report.hardware.cpu, console.say("cost", "成本"), ""), rows, right=(1,))


def _figure(name: str, value: float, unit: str, words: Words) -> tuple[str, str]:
    """A figure and its unit; less than a minute in seconds."""
    if name == "train_minutes" and value < 1:
        return number(60 * value), words("unit.seconds")
    return number(value), unit


def _quote(console: Console, report: Report, words: Words) -> None:
    rows = []
    for figure in report.quote:
        known = report.evaluation.metrics.get(figure.name)
        percent = known.percent if known else False
        prefix = "metric" if known else "cost"
        state = {None: "quote.unknown", True: "quote.held", False: "quote.broken"}[figure.held]
        rows.append(
            (
                words.named(prefix, figure.name),
                metric(figure.expected, percent),
                interval(figure.low, figure.high, percent),
                metric(figure.actual, percent),
                words(state),
            )
        )
    columns = (console.say("quote", "报价"), console.say("expected", "预计"), "", console.say("actual", "实际"), "")
    console.table(columns, rows, right=(1, 2, 3))


def _verdicts(console: Console, report: Report, words: Words) -> None:
    rows = []
    for verdict in report.verdicts:
        settle = ""
        if verdict.rows_to_settle is not None:
            settle = console.say(
                f"about {count(verdict.rows_to_settle)} test rows would settle it",
                f"约需测试 {count(verdict.rows_to_settle)} 行方可断定",
            )
        if verdict.state == "INCONCLUSIVE" and verdict.constraint in report.cost.ranges:
            settle = words("budget.spread")
        name = verdict.constraint.replace("_", " ")
        between = "" if verdict.low is None else interval(verdict.low, verdict.high, percent=False)
        state = words(f"state.{verdict.state}")
        rows.append((name, number(verdict.limit), number(verdict.value), between, state, settle))
    columns = (console.say("budget", "预算"), words("budget.limit"), words("budget.measured"), "", "", "")
    console.table(columns, rows, right=(1, 2, 3))
    state = overall(report.verdicts)
    console.line(words(f"verdict.{state}"))


def _difference(console: Console, change: Difference) -> tuple[str, str]:
    """A difference and its interval: of percentages in points."""
    scale = 100 if change.percent else 1
    found, low, high = (None if v is None else scale * v for v in (change.difference, change.low, change.high))
    unit = console.say(" points", " 个百分点") if change.percent and found is not None else ""
    return number(found) + unit, interval(low, high, percent=False)


def show_comparison(console: Console, found: Comparison) -> None:
    """Each metric of both, the difference with its interval, and what may be concluded."""
    words = words_of(console)
    rows = []
    for name, change in found.metrics.items():
        rows.append(
            (
                words.named("metric", name) + (" *" if name == found.primary else ""),
                metric(change.a, change.percent),
                metric(change.b, change.percent),
                *_difference(console, change),
                p_value(change.p_value),
                words(f"comparison.{change.outcome}"),
            )
        )
    columns = (console.say(f"{found.n:,} rows", f"{found.n:,} 行"), "A", "B", "B − A", f"{found.level:.0%}", "p", "")
    console.table(columns, rows, right=(1, 2, 3, 4, 5))
    if found.mcnemar is not None:
        test = found.mcnemar
        figures = {"a": test.only_a_right, "b": test.only_b_right, "p": p_value(test.p_value)}
        console.line(words("comparison.mcnemar", **figures))
    change = found.metrics[found.primary]
    if change.rows_to_settle is not None:
        console.line(
            console.say(
                f"about {count(change.rows_to_settle)} test rows would settle it",
                f"约需测试 {count(change.rows_to_settle)} 行方可断定",
            )
        )
