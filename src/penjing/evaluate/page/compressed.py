"""What the section about compressing shows: from what, by which steps, what that gained and lost, what else was tried.

Everything here is plain text and numbers; the template escapes it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from penjing.core.report import Compression, Report, Tried
from penjing.evaluate.page.fronts import Chart, chain_in_words, fronts, kind_of, reference_of
from penjing.evaluate.page.headline import SAME, loss, unit_of
from penjing.evaluate.page.view import cost_number, cost_text, limit_label, limit_text
from penjing.evaluate.page.words import Words, bound, count, factor, metric, number

# Costs, and how many times less there is of each; of the rate, how many times more.
_GAINS = {
    "size_mb": "gain.size",
    "ram_mb": "gain.size",
    "rows_per_s": "gain.rate",
    "p50_ms": "gain.time",
    "p95_ms": "gain.time",
}
_LOSSES = {
    "size_mb": "gain.size.larger",
    "ram_mb": "gain.size.larger",
    "p50_ms": "gain.time.longer",
    "p95_ms": "gain.time.longer",
}
_FIGURES = ("p50_ms", "p95_ms", "rows_per_s", "size_mb", "ram_mb")
_SIZES = re.compile(
    r"(?:(?P<layers>\d+)x)?(?P<hidden>\d+|same)(?:, (?P<phrases>\d+) phrases)?"
    r"(?:, loss (?P<loss>[\d.e-]+))?(?:, (?P<heads>\d+) heads)?(?:, (?P<inside>\d+) inside)?$"
)
_SHARES = re.compile(r"(?P<heads>\d+)% heads, (?P<neurons>\d+)% neurons$")


@dataclass(frozen=True)
class Step:
    """One step: the method's name, what it does, and with which sizes."""

    name: str
    what: str
    sizes: str


@dataclass(frozen=True)
class Gain:
    """One cost against the uncompressed model's: how many times, and both figures."""

    label: str
    times: str
    change: str


@dataclass(frozen=True)
class Row:
    """One candidate of the table; `number` is its label in the chart, `kind` as of `scatter.Point`."""

    number: str
    chain: str
    setup: str
    tag: str
    kind: str
    cells: tuple[str, ...]
    fits: str


@dataclass(frozen=True)
class Loosened:
    """A limit that nothing met, as it was set, and what it would have to be."""

    label: str
    limit: str
    enough: str


@dataclass(frozen=True)
class Compressed:
    """The section.

    Args:
        lead: a sentence or two.
        steps: in order.
        lost: what was lost, with its range; empty where nothing was compared.
        early: how many rows a first stage answers; empty without one.
        parity: how far it is from the torch model it was made from; empty where that is not known.
        gains: against the uncompressed model.
        relax: limits that nothing met; empty where something fits.
        columns: headings of the table, the candidates' names first.
        best: what no other candidate beats in everything, and what is compared with it.
        rest: the others.
        chart: rate against quality; None below two candidates.
        charts: the other costs against quality, smaller.
    """

    lead: str
    steps: list[Step]
    lost: str
    early: str
    parity: str
    gains: list[Gain]
    relax: list[Loosened]
    columns: list[str]
    best: list[Row]
    rest: list[Row]
    chart: Chart | None
    charts: list[Chart]


def compressed(report: Report, words: Words) -> Compressed | None:
    """The section's words and positions; None where the model was not made from another."""
    found = report.compression
    if found is None:
        return None
    about = report.evaluation.metrics[report.evaluation.primary]
    ranked = sorted(found.tried, key=lambda tried: (_deciding(tried), -tried.rows_per_s))
    reference = reference_of(ranked)
    best = [tried for tried in ranked if tried.on_front or tried.chosen or tried is reference]
    rest = [tried for tried in ranked if not any(tried is other for other in best)]
    numbers = {id(tried): str(place) for place, tried in enumerate(best, 1)}
    chart, charts = fronts(report, ranked, numbers, words)
    return Compressed(
        lead=_lead(found, words),
        steps=[_step(step, words) for step in found.steps],
        lost=_lost(report, words),
        early=words("small.early.value", share=metric(found.early, True)) if found.early is not None else "",
        parity=_parity(found, words),
        gains=_gains(report, words),
        relax=[_loosened(report, one.constraint, one.limit, one.reached, words) for one in found.relax],
        columns=_columns(report, words),
        best=[_row(tried, numbers[id(tried)], tried is reference, about.percent, words) for tried in best],
        rest=[_row(tried, "", False, about.percent, words) for tried in rest],
        chart=chart,
        charts=charts,
    )


def _deciding(tried: Tried) -> float:
    """The loss that a choice was made by; of reports that do not say, the one by the labels."""
    return tried.lost if tried.judged is None else tried.judged


def _parity(found: Compression, words: Words) -> str:
    parity = found.parity
    if parity is None:
        return ""
    figures = {"mean": f"{parity.mean:.2g}", "max": f"{parity.max:.2g}"}
    return words("small.parity.value", rows=count(parity.rows), flipped=count(parity.flipped), **figures)


def _lead(found: Compression, words: Words) -> str:
    minutes = cost_text("train_minutes", found.minutes, words)
    fitting = sum(1 for tried in found.tried if tried.fits)
    if len(found.tried) <= 2:  # one chain, on one backend or two
        return words("small.lead.chain", minutes=minutes)
    if not fitting:
        return words("small.lead.none", tried=count(len(found.tried)), minutes=minutes)
    return words("small.lead.search", tried=count(len(found.tried)), fits=count(fitting), minutes=minutes)


def _step(text: str, words: Words) -> Step:
    name, _, sizes = text.partition(" ")
    key = f"step.{name}"
    return Step(name, words(key) if words.has(key) else "", sizes_in_words(sizes, words))


def sizes_in_words(text: str, words: Words) -> str:
    """What `compress.measured.shape_name` wrote, "2x384, 4 heads, 768 inside", in words; anything else as it is."""
    shares = _SHARES.match(text)
    if shares is not None:
        return words("shape.shares", **shares.groupdict())
    found = _SIZES.match(text)
    if found is None:
        return text
    parts = []
    if found["layers"]:
        one, none = found["layers"] == "1", found["layers"] == "0"
        parts.append(
            words("shape.layers.one" if one else "shape.layers.none" if none else "shape.layers", n=found["layers"])
        )
    if found["hidden"] != "same":
        parts.append(words("shape.hidden", n=found["hidden"]))
    parts += [words(f"shape.{name}", n=found[name]) for name in ("phrases", "loss", "heads", "inside") if found[name]]
    return words.comma.join(parts)


def _lost(report: Report, words: Words) -> str:
    lost = loss(report)
    if lost is None or report.comparison is None:
        return ""
    key = "small.lost.points" if lost.points else "small.lost.other"
    value, low, high = (lost_text(one, lost.points) for one in (lost.value, lost.low, lost.high))
    return words(
        key,
        metric=words.named("metric", lost.metric),
        value=value,
        low=low,
        high=high,
        n=count(report.comparison.n),
        unit=unit_of(report, words),
    ) + (words.space + words("small.lost.gain") if lost.low < 0 else "")


def _gains(report: Report, words: Words) -> list[Gain]:
    found = []
    before = report.compression.parent_cost if report.compression is not None else None
    for name in _GAINS:
        old, new = getattr(before, name, None), getattr(report.cost, name)
        if not old or not new:
            continue
        times = words(_GAINS[name], factor=factor(new / old if name == "rows_per_s" else old / new))
        if abs(new / old - 1) < SAME:
            times = words("gain.same")
        elif new > old and name != "rows_per_s":
            times = words(_LOSSES[name], factor=factor(new / old))
        change = f"{cost_number(old)} → {cost_text(name, new, words)}"
        found.append(Gain(words.title("cost", name), times, change))
    return found


def _loosened(report: Report, name: str, limit: float, reached: float, words: Words) -> Loosened:
    higher = name == "rows_per_s" or (
        name == "metric" and report.evaluation.metrics[report.evaluation.primary].higher_is_better
    )
    # What is shown as enough has to be enough, so it is rounded away from the limit.
    enough = bound(reached, up=not higher, digits=3)
    return Loosened(
        limit_label(name, report, words),
        limit_text(name, limit, report, words),
        limit_text(name, enough, report, words),
    )


def _columns(report: Report, words: Words) -> list[str]:
    about = report.evaluation.metrics[report.evaluation.primary]
    lost = words("tried.lost.points") if about.percent else words("tried.lost")
    named = words.named("metric", report.evaluation.primary)
    return [words("tried.name"), named, lost, *(words(f"tried.{name}") for name in _FIGURES), words("tried.fits")]


def _row(tried: Tried, place: str, reference: bool, percent: bool, words: Words) -> Row:
    chain, setup = chain_in_words(tried, words)
    kind = kind_of(tried, reference)
    return Row(
        number=place,
        chain=chain,
        setup=setup,
        tag=words("tried.chosen") if tried.chosen else "",
        kind=kind,
        cells=(
            metric(tried.value, percent),
            lost_text(_deciding(tried), percent),
            *(cost_number(getattr(tried, name)) for name in _FIGURES),
        ),
        fits=words("tried.yes" if tried.fits else "tried.no"),
    )


def lost_text(lost: float, percent: bool) -> str:
    """What a candidate lost, on the budget's scale."""
    return f"{lost:.2f}".replace("-", "−") if percent else number(lost, 2)
