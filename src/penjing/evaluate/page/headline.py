"""The one sentence a manager reads; of a compressed model, two or three."""

from __future__ import annotations

from dataclasses import dataclass

from penjing.core.report import Cost, MetricValue, Report
from penjing.evaluate.page.words import Words, bound, count, factor, metric, number
from penjing.evaluate.verdict import overall


def unit_of(report: Report, words: Words) -> str:
    """What is counted: texts where a column plays that role, else rows."""
    return words("units.texts" if "text" in report.data.roles else "units.rows")


FEW = 30  # test rows of which a reader should know how few they are before any figure


def headline(report: Report, words: Words) -> str:
    """The result in plain words: natural frequencies where the metric allows, else the metric and its range.

    The primary metric speaks where it has a plain sentence of its own; macro-F1 and the like do not, and then
    accuracy speaks for them.
    """
    evaluation = report.evaluation
    num_rows = evaluation.metrics[evaluation.primary].n
    said = _result(report, words)
    if num_rows >= FEW:
        return said
    return words("headline.few", said=said, n=count(num_rows), unit=unit_of(report, words))


def _result(report: Report, words: Words) -> str:
    evaluation = report.evaluation
    metrics, primary = evaluation.metrics, evaluation.primary
    known = {name for name, found in metrics.items() if found.value is not None}
    if primary == "auc" and metrics["auc"].low is not None:
        positive = evaluation.classes[-1].label if len(evaluation.classes) == 2 else None
        key = "headline.auc" if positive is None else "headline.auc.named"
        return _frequency(key, metrics["auc"], report, words, positive=positive)
    if "mae" in known:
        return _range("headline.error", "mae", metrics["mae"], words)
    if primary != "f1" and "accuracy" in known:
        return _frequency("headline.accuracy", metrics["accuracy"], report, words)
    if "subset_accuracy" in known:
        return _frequency("headline.subset_accuracy", metrics["subset_accuracy"], report, words)
    if {"precision", "recall"} <= known and "accuracy" not in known:
        shares = {name: count(100 * (metrics[name].value or 0)) for name in ("precision", "recall")}
        return words("headline.f1", **shares)
    return _range("headline.other", primary, metrics[primary], words)


def _frequency(key: str, found: MetricValue, report: Report, words: Words, **more: str | None) -> str:
    assert found.value is not None
    unit = unit_of(report, words)
    if found.low is None or found.high is None:
        return words(f"{key}.point", base=100, value=count(100 * found.value), unit=unit)
    # Out of a hundred is easiest to picture, but must not round the range away, nor claim "100 of 100".
    base = 100 if round(100 * found.low) < round(100 * found.high) < 100 else 1000
    figures = {name: count(base * getattr(found, name)) for name in ("value", "low", "high")}
    return words(key, base=count(base), unit=unit, **figures, **{k: v for k, v in more.items() if v is not None})


def _range(key: str, name: str, found: MetricValue, words: Words) -> str:
    def shown(value: float | None) -> str:
        return metric(value, True) if found.percent else number(value)

    label = words.named("metric", name)
    if found.low is None or found.high is None:
        return words("headline.other.point", name=label, value=shown(found.value))
    return words(key, name=label, value=shown(found.value), low=shown(found.low), high=shown(found.high))


SAME = 0.05  # a cost that differs by less is the same, for all that timings tell


@dataclass(frozen=True)
class Loss:
    """How much of its main metric a model lost against the one it was made from; less than nothing is a gain.

    Args:
        metric: its name.
        points: figures are points of percent.
        value: on the test rows.
        low: the least, very probably.
        high: the most, very probably.
    """

    metric: str
    points: bool
    value: float
    low: float
    high: float


def loss(report: Report) -> Loss | None:
    """What was lost, by the paired comparison; None where nothing was compared."""
    if report.comparison is None:
        return None
    name = report.comparison.primary
    change, about = report.comparison.metrics[name], report.evaluation.metrics.get(name)
    if about is None or change.difference is None or change.low is None or change.high is None:
        return None
    # A loss is a minus b where higher is better, b minus a where lower is.
    scale = (100.0 if change.percent else 1.0) * (-1.0 if about.higher_is_better else 1.0)
    low, high = sorted((scale * change.low, scale * change.high))
    return Loss(name, change.percent, scale * change.difference, low, high)


def smaller(report: Report, words: Words) -> str | None:
    """How much smaller and faster a compressed model is, and what that cost; None of any other model."""
    if report.compression is None:
        return None
    cost, before = report.cost, report.compression.parent_cost or Cost()
    size = _times("smaller.size", before.size_mb, cost.size_mb, words)
    speed = _times("smaller.speed", cost.rows_per_s, before.rows_per_s, words)
    if not size or not speed:
        return None
    what = words("smaller.both", size=size, speed=speed)
    lost = loss(report)
    if lost is None:
        return words("smaller.alone", what=what)
    level = f"{100 * report.evaluation.level:g}"
    return words("smaller.sentence", what=what, lost=_lost(lost, words), level=level)


def _times(key: str, many: float | None, one: float | None, words: Words) -> str:
    if not many or not one:
        return ""
    times = many / one
    if abs(times - 1) < SAME:
        return words(f"{key}.same")
    return words(f"{key}.more", factor=factor(times)) if times > 1 else words(f"{key}.less", factor=factor(1 / times))


def _lost(lost: Loss, words: Words) -> str:
    kind = "points" if lost.points else "other"
    values = {"metric": words.named("metric", lost.metric), "high": bound(lost.high, up=True)}
    if lost.high <= 0:
        return words("smaller.lost.none", metric=values["metric"])
    if lost.low > 0:
        return words(f"smaller.lost.{kind}.between", low=bound(lost.low, up=False), **values)
    return words(f"smaller.lost.{kind}", **values)


def infeasible(report: Report, words: Words) -> str | None:
    """That nothing fits the budget, where a search found so, and whether the test rows say otherwise."""
    if report.compression is None or not report.compression.relax:
        return None
    return words("relax.passed" if overall(report.verdicts) == "PASS" else "relax.sentence")
