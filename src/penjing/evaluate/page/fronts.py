"""The charts of what was tried in compressing: quality against the rate, and smaller, against each of the other costs.

Everything here is plain text and numbers; the template escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penjing.core.report import MetricValue, Report, Tried
from penjing.evaluate.page.scatter import BIG, SMALL, Point, Room, Scatter, scatter, tick_text
from penjing.evaluate.page.view import cost_text
from penjing.evaluate.page.words import Words, count, metric

_RATE = "rows_per_s"
_COSTS = ("p95_ms", "size_mb", "ram_mb")


@dataclass(frozen=True)
class Chart:
    """A chart with its words.

    Args:
        scatter: where everything stands.
        alt: the chart in words.
        x_name: what its horizontal scale shows.
        y_name: and its vertical one.
        x_ticks: (position, text).
        y_ticks: (position, text).
        x_limit: what the budget asks of the rate or cost, in words.
        y_limit: and of the main metric; empty where there is no room for it, as the chart above says it.
    """

    scatter: Scatter
    alt: str
    x_name: str
    y_name: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_limit: str
    y_limit: str


def fronts(
    report: Report, tried: Sequence[Tried], numbers: Mapping[int, str], words: Words
) -> tuple[Chart | None, list[Chart]]:
    """(rate against quality, each other cost against quality); none below two candidates.

    Args:
        report: with the limits of the budget.
        tried: what to show, the best first.
        numbers: `id` of a candidate → its number in the table.
        words: of the page.
    """
    if len(tried) < 2:
        return None, []
    # A scale of factors has no place for what is 0, as a cost that a machine does not tell.
    costs = [name for name in _COSTS if min(getattr(one, name) for one in tried) > 0]
    big = _chart(_RATE, report, tried, numbers, words, BIG)
    return big, [_chart(name, report, tried, {}, words, SMALL) for name in costs]


def _chart(
    name: str, report: Report, tried: Sequence[Tried], numbers: Mapping[int, str], words: Words, room: Room
) -> Chart:
    about = report.evaluation.metrics[report.evaluation.primary]
    reference = reference_of(tried)
    limits = {verdict.constraint: verdict.limit for verdict in report.verdicts}
    worst_x = limits.get(name)
    worst_y = _worst(limits, reference, percent=about.percent, higher=about.higher_is_better)
    found = scatter(
        [_point(one, name, numbers.get(id(one), ""), reference, about, words) for one in tried],
        higher_is_better=about.higher_is_better,
        cost=name != _RATE,
        share=about.percent,
        worst_x=worst_x,
        worst_y=worst_y,
        room=room,
    )
    says = worst_y is not None and room.limit > 0
    return Chart(
        scatter=found,
        alt=_alt(name, report, tried, found, words),
        x_name=words(f"small.chart.x.{name}"),
        y_name=words("small.chart.y", metric=words.title("metric", report.evaluation.primary)),
        x_ticks=[(at, tick_text(value)) for at, value in found.x_ticks],
        y_ticks=[(at, metric_tick(value, about.percent)) for at, value in found.y_ticks],
        x_limit="" if worst_x is None else words("small.chart.limit", value=tick_text(worst_x)),
        y_limit=words("small.chart.limit", value=metric(worst_y, about.percent)) if says else "",
    )


def metric_tick(value: float, percent: bool) -> str:
    """A round value of the main metric."""
    return f"{100 * value:.6g}%" if percent else f"{value:,.6g}".replace("-", "−")


def reference_of(tried: Sequence[Tried]) -> Tried | None:
    """The uncompressed model, run as fast as it was."""
    before = [one for one in tried if one.uncompressed]
    return max(before, key=lambda one: one.rows_per_s, default=None)


def kind_of(tried: Tried, reference: bool) -> str:
    """Of `scatter.Point`; `reference` where it is what the others are compared with."""
    if tried.chosen:
        return "chosen"
    return "uncompressed" if reference else "front" if tried.on_front else "beaten"


def chain_in_words(tried: Tried, words: Words) -> tuple[str, str]:
    """(steps with arrows between, how they are run) of a candidate."""
    chain, _, setup = tried.name.rpartition(" @ ")
    if not chain:
        chain, setup = setup, ""
    if tried.uncompressed:
        return words("tried.as_it_was"), setup
    return " → ".join(re.sub(r"(\d)x(?=\d|same)", r"\1×", step) for step in chain.split(" > ")), setup


def _point(tried: Tried, name: str, number: str, reference: Tried | None, about: MetricValue, words: Words) -> Point:
    kind = kind_of(tried, tried is reference)
    said = f"{number} {words(f'tried.{kind}')}".strip() if kind in {"chosen", "uncompressed"} else ""
    chain, setup = chain_in_words(tried, words)
    title = f"{chain}{f' ({setup})' if setup else ''}: {_figures(tried, name, reference, about, words)}"
    height = _height(tried, reference, about)
    return Point(getattr(tried, name), height, kind, tried.on_front, (said, number), title)


def _worst(limits: Mapping[str, float], reference: Tried | None, *, percent: bool, higher: bool) -> float | None:
    """The main metric below which the budget is missed: what it asks for, or what it lets be lost, or the stricter."""
    scale = 100.0 if percent else 1.0
    found = [limits["metric"] / scale] if "metric" in limits else []
    if "drop" in limits and reference is not None:
        found.append(reference.value - (1 if higher else -1) * limits["drop"] / scale)
    return (max(found) if higher else min(found)) if found else None


def _height(tried: Tried, reference: Tried | None, about: MetricValue) -> float:
    """What the uncompressed model reaches less the loss that decides what fits and what nothing beats."""
    if tried.judged is None or reference is None:
        return tried.value
    return reference.value - (1 if about.higher_is_better else -1) * tried.judged / (100 if about.percent else 1)


def _figures(tried: Tried, name: str, reference: Tried | None, about: MetricValue, words: Words) -> str:
    height = metric(_height(tried, reference, about), about.percent)
    return f"{height}, {cost_text(name, getattr(tried, name), words)}"


def _alt(name: str, report: Report, tried: Sequence[Tried], found: Scatter, words: Words) -> str:
    about = report.evaluation.metrics[report.evaluation.primary]
    named = words.named("metric", report.evaluation.primary)
    if name == _RATE:
        best = count(sum(one.on_front for one in tried))
        said = [words("small.chart.alt", metric=named, n=count(len(tried)), best=best)]
    else:
        cost, line = words(f"small.cost.{name}"), count(len(found.line))
        said = [words("small.chart.alt.cost", metric=named, cost=cost, n=count(len(tried)), line=line)]
    reference = reference_of(tried)
    shown = [("chosen", next((one for one in tried if one.chosen), None)), ("uncompressed", reference)]
    said += [
        words("small.chart.point", name=words(f"tried.{kind}"), figures=_figures(one, name, reference, about, words))
        for kind, one in shown
        if one is not None
    ]
    return words.space.join(said)
