"""The one sentence a manager reads."""

from __future__ import annotations

from penjing.core.report import MetricValue, Report
from penjing.evaluate.page.words import Words, count, metric, number


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
