"""One candidate of a selection: what it is, what was measured of it, and whether it fits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError
from penjing.core.task import Metric
from penjing.models.catalog import list_models

SHARE = Metric()
Standing = Literal["chosen", "fits", "over budget", "wrong language", "unavailable"]


class TooSlowToTryError(CapabilityError):
    """The time does not suffice for any run of a model."""


@dataclass(frozen=True)
class Candidate:
    """A row of the selection's table; what is None was not measured.

    Args:
        name: catalog name, path, hub id, or "scratch".
        standing: what became of it.
        reasons: why, one clause each.
        languages: ISO 639-1 codes, ("multi",), or () where unknown.
        licence: SPDX identifier, or the name of its terms.
        pretrained: whether it knows anything but the training rows.
        parameters: number of parameters.
        logme: log evidence a row; higher is better.
        probe: primary metric of a linear probe on held-out rows ("scratch": of TF-IDF with a linear model).
        probe_low: lower bound of its interval.
        probe_high: upper bound.
        probe_rows: rows the probe was judged on.
        expected: primary metric expected after training.
        p50_ms: median latency of one row.
        p95_ms: 95th percentile.
        rows_per_s: raw rows to labels a second, in batches.
        size_mb: bytes on disk that predicting needs.
        ram_mb: peak memory of a predicting process.
        train_minutes: rough training time, counted in forward passes.
        backend: what the figures of cost were measured with.
    """

    name: str
    standing: Standing = "fits"
    reasons: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    licence: str = ""
    pretrained: bool = True
    parameters: int | None = None
    logme: float | None = None
    probe: float | None = None
    probe_low: float | None = None
    probe_high: float | None = None
    probe_rows: int | None = None
    expected: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    rows_per_s: float | None = None
    size_mb: float | None = None
    ram_mb: float | None = None
    train_minutes: float | None = None
    backend: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Excess:
    """A limit of the budget that a candidate breaks.

    Args:
        limit: the field of `Budget`.
        allowed: its value.
        found: what the candidate has.
        factor: by how much it is broken, above 1.
    """

    limit: str
    allowed: float
    found: float
    factor: float = field(compare=False)

    def __str__(self) -> str:
        return f"{self.limit} {self.found:.3g}, budget {self.allowed:.3g}"


def excesses(candidate: Candidate, budget: Budget, score: float | None, about: Metric = SHARE) -> list[Excess]:
    """Limits of the budget that measured or expected figures break, the worst first.

    Args:
        candidate: with its figures.
        budget: the limits; `drop` compares with another model and is not read, nor are `train_minutes`: training is
            planned to end within them.
        score: expected primary metric, in points where it is shown in percent, or None.
        about: its direction and scale.
    """
    found = []
    for limit in ("p95_ms", "size_mb", "ram_mb"):
        allowed, value = getattr(budget, limit), getattr(candidate, limit)
        if allowed is not None and value is not None and value > allowed:
            found.append(Excess(limit, allowed, value, value / allowed))
    if budget.rows_per_s is not None and candidate.rows_per_s is not None and candidate.rows_per_s < budget.rows_per_s:
        rate = candidate.rows_per_s
        found.append(Excess("rows_per_s", budget.rows_per_s, rate, budget.rows_per_s / max(rate, 1e-9)))
    if budget.metric is not None and score is not None:
        best = (100.0 if about.percent else 1.0) if about.higher_is_better else 0.0
        if (score < budget.metric) if about.higher_is_better else (score > budget.metric):
            factor = max(abs(best - score), 1e-9) / max(abs(best - budget.metric), 1e-9)
            found.append(Excess("metric", budget.metric, score, factor))
    return sorted(found, key=lambda excess: -excess.factor)


def speaks(languages: tuple[str, ...], language: str) -> bool:
    """Whether a model's languages cover that of the texts ("zh", "en", "mixed", or "other").

    A model whose languages are unknown is given the benefit of the doubt.
    """
    if not languages or "multi" in languages:
        return True
    needed = {"zh": {"zh"}, "en": {"en"}, "mixed": {"zh", "en"}}.get(language)
    return needed is not None and needed <= set(languages)


def smallest_speaking(language: str, names: Collection[str]) -> str | None:
    """The smallest model of the catalog that reads a language, of those named."""
    rows = [row for row in list_models() if row.name in names and speaks(row.languages, language)]
    return min(rows, key=lambda row: row.parameters).name if rows else None
