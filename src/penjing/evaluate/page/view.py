"""What each section of the page shows: the report's figures as words, positions and widths.

Everything here is plain text and numbers; the template escapes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from penjing.core.report import Cost, MetricValue, Report, Verdict
from penjing.evaluate.page import charts
from penjing.evaluate.page.words import MISSING, Words, count, interval, metric, number

MAX_TABLE_CLASSES = 12
MAX_HEAT_CLASSES = 150
NUM_PAIRS = 10
NUM_WEAKEST = 12
NUM_MISTAKES = 8


@dataclass(frozen=True)
class Bar:
    """A figure on a track: a dot, and a bar where the true figure lies. Positions in percent of the track.

    Args:
        label: what is measured.
        note: a few words in small type.
        value: the figure in words.
        range: its interval in words.
        dot: position of the figure; None where there is none.
        start: where the interval begins.
        width: how wide it is.
        mark: position of a reference (a limit, the figure of all rows), or None.
        state: a class name for colour: "", "good", "bad", "faint", "main".
        tag: a flag such as "few rows".
        extra: further cells of a table.
    """

    label: str
    value: str
    range: str = ""
    note: str = ""
    dot: float | None = None
    start: float = 0.0
    width: float = 0.0
    mark: float | None = None
    state: str = ""
    tag: str = ""
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tracks:
    """Bars on one scale, with its ticks as (position, text)."""

    bars: list[Bar]
    ticks: list[tuple[float, str]] = field(default_factory=list)
    title: str = ""


def _bar(axis: charts.Axis, found: MetricValue, label: str, **rest: Any) -> Bar:
    start, width = axis.span(found.low, found.high)
    return Bar(
        label=label,
        value=metric(found.value, found.percent),
        range=interval(found.low, found.high, found.percent),
        dot=None if found.value is None else axis.at(found.value),
        start=start,
        width=width,
        **rest,
    )


def _ticks(axis: charts.Axis, percent: bool) -> list[tuple[float, str]]:
    return [(axis.at(v), _tick(v, percent)) for v in axis.ticks()]


def _tick(value: float, percent: bool) -> str:
    return f"{100 * value:.6g}%" if percent else f"{value:,.6g}"


def metric_tracks(report: Report, words: Words) -> tuple[Tracks, list[Bar]]:
    """(shares on one scale, other metrics as figures only, since no two share a scale)."""
    evaluation = report.evaluation
    order = sorted(evaluation.metrics, key=lambda name: name != evaluation.primary)
    shares = [n for n in order if evaluation.metrics[n].percent]
    axis = charts.axis_of(
        [v for n in shares for m in [evaluation.metrics[n]] for v in (m.value, m.low, m.high)], low=0.0, high=1.0
    )
    bars: dict[str, Bar] = {}
    for name in order:
        bars[name] = _bar(
            axis,
            evaluation.metrics[name],
            words.title("metric", name),
            note=words(f"metric.{name}.what") if words.has(f"metric.{name}.what") else "",
            state="main" if name == evaluation.primary else "",
            tag=words("metrics.main") if name == evaluation.primary else "",
        )
    others = [bars[n] for n in order if n not in shares]
    return Tracks([bars[n] for n in shares], _ticks(axis, True)), others


def class_tracks(report: Report, words: Words) -> Tracks:
    """F1 of every class that occurs, weakest first."""
    axis = charts.Axis(0.0, 1.0)
    rows = sorted(report.evaluation.classes, key=lambda c: (c.f1 is None, c.f1 if c.f1 is not None else 0.0, c.label))
    bars = []
    for row in rows:
        found = MetricValue(value=row.f1, low=row.f1_low, high=row.f1_high, n=row.support)
        bars.append(
            _bar(
                axis,
                found,
                row.label,
                tag=words("classes.small") if row.small else "",
                state="faint" if row.small else "",
                extra=(count(row.support), metric(row.precision, True, 0), metric(row.recall, True, 0)),
            )
        )
    return Tracks(bars, [(axis.at(v), _tick(v, True)) for v in (0.0, 0.5, 1.0)])


def slice_tracks(report: Report, words: Words) -> list[Tracks]:
    """One group of bars for each dimension, all on one scale with the figure of all rows as reference."""
    evaluation = report.evaluation
    whole = evaluation.metrics[evaluation.primary]
    values = [v for s in evaluation.slices for v in (s.metric.value, s.metric.low, s.metric.high)]
    bound = (0.0, 1.0) if whole.percent else (None, None)
    axis = charts.axis_of([*values, whole.value], *bound)
    mark = None if whole.value is None else axis.at(whole.value)
    groups: dict[str, list[Bar]] = {}
    for part in evaluation.slices:
        tag = words("slices.worse") if part.worse else words("slices.small") if part.small else ""
        bar = _bar(
            axis,
            part.metric,
            part.value or words("slices.empty"),
            note=f"{count(part.metric.n)} {words('units.rows')}",
            mark=mark,
            tag=tag,
            state="bad" if part.worse else "faint" if part.small else "",
        )
        groups.setdefault(part.dimension, []).append(bar)
    titles = {"length": words("slices.length")}
    return [Tracks(bars, _ticks(axis, whole.percent), titles.get(name, name)) for name, bars in groups.items()]


def budget_bars(report: Report, words: Words) -> list[Bar]:
    """One bar for each limit, on a scale of its own, with the limit as reference."""
    return [_budget_bar(verdict, report, words) for verdict in report.verdicts]


def limit_label(name: str, report: Report, words: Words) -> str:
    """What a limit of the budget limits: "Memory, at most"."""
    primary = report.evaluation.primary
    higher = report.evaluation.metrics[primary].higher_is_better
    key = "budget.metric.most" if name == "metric" and not higher else f"budget.{name}"
    return words(key, metric=words.title("metric", primary) if name == "metric" else words.named("metric", primary))


def limit_text(name: str, limit: float | str, report: Report, words: Words) -> str:
    """A limit as it was set: "5 ms", whereas a measurement of 5.0 ms has two digits."""
    shown = limit if isinstance(limit, str) else f"{limit:,.6g}"
    unit = f" {words(_COST_UNITS[name])}" if name in _COST_UNITS else ""
    if not unit and report.evaluation.metrics[report.evaluation.primary].percent:
        points = words("unit.points.one" if shown == "1" else "unit.points")
        unit = "%" if name == "metric" else f" {points}"
    return shown + unit


def _budget_bar(verdict: Verdict, report: Report, words: Words) -> Bar:
    about = report.evaluation.metrics[report.evaluation.primary]
    name = verdict.constraint
    axis = charts.axis_of([verdict.limit, verdict.value, verdict.low, verdict.high])
    start, width = axis.span(verdict.low, verdict.high)

    def shown(value: float | None) -> str:
        if name == "drop":  # a loss of 0.4 points is not 0.4%
            return number(value, 2)
        if name == "metric":
            return metric(None if value is None else value / 100, True) if about.percent else number(value)
        return cost_text(name, value, words)

    return Bar(
        label=limit_label(name, report, words),
        value=words("budget.unmeasured") if verdict.value is None else shown(verdict.value),
        range=_spanned(shown(verdict.low), shown(verdict.high)) if verdict.low is not None else "",
        note=_settle(verdict, report, words),
        dot=None if verdict.value is None else axis.at(verdict.value),
        start=start,
        width=width,
        mark=axis.at(verdict.limit),
        state={"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "open"}[verdict.state],
        tag=words(f"state.{verdict.state}"),
        extra=(limit_text(name, verdict.limit, report, words),),
    )


def _spanned(low: str, high: str) -> str:
    """From one figure to another; a unit that both have stands once."""
    figure, space, unit = low.partition(" ")
    return f"{figure} – {high}" if unit and high.endswith(space + unit) else f"{low} – {high}"


def _settle(verdict: Verdict, report: Report, words: Words) -> str:
    if verdict.state != "INCONCLUSIVE" or verdict.value is None:
        return ""
    if verdict.constraint in report.cost.ranges:
        return words("budget.spread")
    if verdict.rows_to_settle is None:
        return words("budget.no_rows") if verdict.value == verdict.limit else ""
    unit = words("units.texts" if "text" in report.data.roles else "units.rows")
    rows = verdict.rows_to_settle
    step = 10 ** max(0, len(str(rows)) - 2)  # an estimate deserves two digits
    return words("budget.settle", rows=count(math.ceil(rows / step) * step), unit=unit)


_COST_UNITS = {
    "p50_ms": "unit.ms",
    "p95_ms": "unit.ms",
    "load_ms": "unit.ms",
    "rows_per_s": "unit.rows_per_s",
    "size_mb": "unit.mb",
    "ram_mb": "unit.mb",
    "train_minutes": "unit.minutes",
}


def cost_text(name: str, value: float | None, words: Words) -> str:
    """A cost with its unit; less than a minute of training is shown in seconds."""
    if value is None:
        return MISSING
    if name == "train_minutes" and value < 1:
        return f"{number(60 * value, 2)} {words('unit.seconds')}"
    return f"{cost_number(value)} {words(_COST_UNITS[name])}" if name in _COST_UNITS else number(value)


def cost_number(value: float) -> str:
    """A measured cost without its unit: as many digits as its noise leaves."""
    return count(value) if abs(value) >= 100 else number(value, 2 if abs(value) < 10 else 3)


def cost_figures(cost: Cost, words: Words) -> list[tuple[str, str]]:
    """(name, figure) of what was measured, most asked-for first."""
    names = ("p50_ms", "p95_ms", "rows_per_s", "size_mb", "ram_mb", "load_ms", "train_minutes")
    known = [(name, getattr(cost, name)) for name in names]
    return [(words.title("cost", name), cost_text(name, value, words)) for name, value in known if value is not None]


def quote_bars(report: Report, words: Words) -> list[Bar]:
    """Quoted ranges with what came true as the dot, each on a scale of its own."""
    bars = []
    for figure in report.quote:
        about = report.evaluation.metrics.get(figure.name)
        label = words.title("cost" if about is None else "metric", figure.name)

        def shown(value: float | None, name: str = figure.name, about: MetricValue | None = about) -> str:
            return cost_text(name, value, words) if about is None else metric(value, about.percent)

        axis = charts.axis_of([figure.low, figure.high, figure.expected, figure.actual])
        key = {True: "quote.held", False: "quote.broken", None: "quote.unknown"}[figure.held]
        bars.append(
            Bar(
                label=label,
                value=shown(figure.actual),
                range=_spanned(shown(figure.low), shown(figure.high)),
                note=words("quote.expected", value=shown(figure.expected)),
                dot=None if figure.actual is None else axis.at(figure.actual),
                start=axis.span(figure.low, figure.high)[0],
                width=axis.span(figure.low, figure.high)[1],
                state={True: "good", False: "bad", None: "faint"}[figure.held],
                tag=words(key),
            )
        )
    return bars


@dataclass(frozen=True)
class Curve:
    """One line chart with its words."""

    title: str
    line: charts.Line
    ticks: list[tuple[float, str]]
    last: str


def curves(report: Report, words: Words) -> list[Curve]:
    """Loss, validation metric and speed against steps; what was never measured is left out."""
    primary = report.evaluation.primary
    percent = report.evaluation.metrics[primary].percent
    named = words("curves.valid", metric=words.named("metric", primary))
    wanted = (
        ("loss", words("curves.loss"), False),
        ("valid", named, percent),
        ("samples_per_s", words("curves.speed"), False),
    )
    found = []
    for name, title, share in wanted:
        points: Sequence[tuple[float, float | None]] = [(p.step, getattr(p, name)) for p in report.curves]
        line = charts.line(points, low=None if name == "valid" else 0.0, high=1.0 if share else None)
        if line:
            ticks = [(round(100 - line.axis.at(v), 2), _tick(v, share)) for v in line.axis.ticks(4)]
            found.append(Curve(title, line, ticks, metric(line.last_value, share)))
    return found
