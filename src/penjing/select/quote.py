"""What a run would give and cost, told in about a minute, before the run itself.

A text model is probed and trained for seconds at most; a table is learned for real, on a sample and with few settings.

Time is shared out beforehand, samples shrink to fit it, and whatever cannot be interrupted runs in a process that can
be killed, so that the deadline holds on slow machines too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.core.artifact import write_atomic
from penjing.core.budget import Budget
from penjing.core.errors import ArtifactError
from penjing.core.events import Listener, ignore
from penjing.core.report import QuotedFigure, Report
from penjing.core.runtime import usable_threads
from penjing.core.task import Metric
from penjing.data.prepare import Prepared
from penjing.models.pretrained import Pretrained
from penjing.select.calibration import MIN_RUNS, Calibration, shipped
from penjing.select.config import SelectConfig
from penjing.select.expectation import Evidence, expect_error, expect_label_gain, spread_of
from penjing.select.gather import Findings, gather_direct, gather_gradient
from penjing.select.price import MonthlyCost, monthly_cost
from penjing.select.quote_wording import describe_quote
from penjing.select.serving import machine_busy
from penjing.select.stopwatch import Stopwatch

if TYPE_CHECKING:
    from penjing.train.config import TrainConfig

QUOTE_VERSION = 3
MAX_QUOTE_BYTES = 1_000_000
MORE_LABELS = 50


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Range(_Part):
    """An expected figure and the interval it should lie in."""

    low: float
    expected: float
    high: float


class Quote(_Part):
    """A promise about a run, with how sure it is. Metrics are shares (0.93), as in reports."""

    version: int = QUOTE_VERSION
    task: str
    model: str | None = Field(description="None: the task needs no pretrained model.")
    metric: str = Field(description="The primary metric.")
    percent: bool
    higher_is_better: bool
    score: Range | None = Field(description="The primary metric on the test rows; None: undefined on the rows judged.")
    costs: dict[str, Range] = Field(description="Field of `Cost` → figure; see core/report.py.")
    more_labels: Range | None = Field(None, description="Gain of the metric by 50 more labels; None: no curve.")
    monthly: MonthlyCost
    level: float = Field(description="How often these intervals should hold.")
    rows: dict[str, int] = Field(description="train, valid and test rows of the data; sampled: rows looked at.")
    assumed: bool = Field(False, description="Some spread behind the intervals is assumed, not yet measured on runs.")
    evidence: Evidence
    backend: str = Field(description="What latency and throughput were measured with.")
    seconds: float = Field(description="Wall time this quote took.")
    busy: bool = Field(description="Other work kept the machine busy meanwhile, so speeds are pessimistic.")
    over_budget: dict[str, Literal["likely", "possible"]] = Field(
        {}, description="Limit of the budget → whether the expected figure breaks it, or only the interval's end."
    )
    calibration: dict[str, Any] = Field(description="Provenance of the constants behind the intervals.")

    def sentences(self, language: str = "en") -> list[str]:
        """The quote in plain words, English or Chinese."""
        return describe_quote(self, zh=language == "zh")

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return self.model_dump(mode="json")


def quote(
    prepared: Prepared,
    pretrained: Pretrained | None,
    *,
    budget: Budget | None = None,
    train: TrainConfig | None = None,
    config: SelectConfig | None = None,
    seed: int = 42,
    deadline_s: float | None = None,
    calibration: Calibration | None = None,
    rehearse: bool = True,
    listener: Listener = ignore,
) -> Quote:
    """Quote a run.

    Args:
        prepared: train and valid are read; of the test rows only their number.
        pretrained: the model to start from; None where the task needs none.
        budget: the concurrency of latency, and the limits to compare with.
        train: settings of the run; the defaults where None.
        config: sample size, level of the intervals, traffic and prices.
        seed: of samples and of the short run.
        deadline_s: wall time; `config.quote_seconds` where None.
        calibration: what past runs taught; that of this release where None.
        rehearse: train for some seconds too, where a probe alone could tell; it narrows the expected metric.
        listener: told of progress.

    Raises:
        CapabilityError: the machine is too slow for any estimate, or the model cannot be exported.
        MissingExtraError: the task's trainer needs a library that is not installed.
    """
    from penjing.train.config import TrainConfig

    budget, train, config = budget or Budget(), train or TrainConfig(), config or SelectConfig()
    calibration = calibration or shipped()
    watch = Stopwatch(config.quote_seconds if deadline_s is None else deadline_s)
    asked = (prepared, pretrained, budget, train, config, seed, watch, listener)
    found = gather_direct(*asked) if pretrained is None else gather_gradient(*asked, rehearse=rehearse)
    return build_quote(prepared, pretrained, found, budget, config, calibration, seconds=watch.spent)


def build_quote(
    prepared: Prepared,
    pretrained: Pretrained | None,
    found: Findings,
    budget: Budget,
    config: SelectConfig,
    calibration: Calibration,
    *,
    seconds: float,
) -> Quote:
    """Turn findings into figures with intervals; a pure function but for the machine's load."""
    about, score, gain = found.metric, None, None
    if found.evidence.log_error is not None:
        error = expect_error(found.evidence, calibration, config.level)
        if about.percent and error[0] < 0.5 / max(1, len(prepared.splits.sealed_test)):
            error = (0.0, *error[1:])  # less than half a test row: a test without an error is within it
        score = _score_range(error, higher=about.higher_is_better, percent=about.percent)
        gain = expect_label_gain(found.evidence, error[1], config.level)
    measured = {name: getattr(found.serving, name) for name in ("p95_ms", "rows_per_s", "size_mb", "ram_mb")}
    spreads = calibration.costs_of(found.evidence.basis)
    costs = {
        name: _range(spreads[name].bounds(max(value, 1e-6), config.level))
        for name, value in {**measured, "train_minutes": found.train_minutes}.items()
    }
    splits = prepared.splits
    values = Quote(
        task=prepared.task_kind,
        model=None if pretrained is None else pretrained.name,
        metric=found.primary,
        percent=about.percent,
        higher_is_better=about.higher_is_better,
        score=score,
        costs=costs,
        more_labels=None if gain is None else _range(gain),
        monthly=monthly_cost(costs["rows_per_s"].expected, usable_threads(), config.price),
        level=config.level,
        assumed=any(
            spread.num_runs < MIN_RUNS for spread in (spread_of(found.evidence, calibration), *spreads.values())
        ),
        rows={
            "train": len(splits.train),
            "valid": len(splits.valid),
            "test": len(splits.sealed_test),
            "sampled": found.sampled,
        },
        evidence=found.evidence,
        backend=found.serving.backend,
        seconds=round(seconds, 1),
        busy=machine_busy(),
        over_budget=_over_budget(budget, score, costs, about),
        calibration=dict(calibration.provenance),
    )
    return values


def _range(bounds: tuple[float, float, float]) -> Range:
    low, expected, high = bounds
    return Range(low=low, expected=expected, high=high)


def _score_range(error: tuple[float, float, float], *, higher: bool, percent: bool) -> Range:
    low, expected, high = error
    if higher:
        low, expected, high = 1 - high, 1 - expected, 1 - low
    if percent:
        low, expected, high = (min(1.0, max(0.0, value)) for value in (low, expected, high))
    return Range(low=low, expected=expected, high=high)


def _over_budget(
    budget: Budget, score: Range | None, costs: Mapping[str, Range], about: Metric
) -> dict[str, Literal["likely", "possible"]]:
    found: dict[str, Literal["likely", "possible"]] = {}
    for name, figure in costs.items():
        limit = getattr(budget, name)
        if limit is None:
            continue
        least = name == "rows_per_s"  # a floor; the others are ceilings
        if (figure.expected < limit) if least else (figure.expected > limit):
            found[name] = "likely"
        elif (figure.low < limit) if least else (figure.high > limit):
            found[name] = "possible"
    if budget.metric is not None and score is not None:
        limit = budget.metric / 100 if about.percent else budget.metric
        higher = about.higher_is_better
        if (score.expected < limit) if higher else (score.expected > limit):
            found["metric"] = "likely"
        elif (score.low < limit) if higher else (score.high > limit):
            found["metric"] = "possible"
    return found


def came_true(promised: Quote, report: Report) -> list[QuotedFigure]:
    """Every quoted figure beside what the report measured."""
    metric = report.evaluation.metrics.get(promised.metric)
    actual: dict[str, float | None] = {promised.metric: None if metric is None else metric.value}
    actual |= {name: getattr(report.cost, name) for name in promised.costs}
    figures = dict(promised.costs)
    if promised.score is not None:
        figures = {promised.metric: promised.score, **figures}
    return [
        QuotedFigure(
            name=name,
            low=figure.low,
            expected=figure.expected,
            high=figure.high,
            actual=actual[name],
            held=None if actual[name] is None else figure.low <= actual[name] <= figure.high,
        )
        for name, figure in figures.items()
    ]


def write_quote(promised: Quote, path: Path) -> None:
    """Write a quote as JSON, atomically."""
    write_atomic(path, promised.model_dump_json(indent=1) + "\n")


def read_quote(path: Path) -> Quote:
    """Read what `write_quote` wrote.

    Raises:
        ArtifactError: missing, too large, of another release, or not a quote.
    """
    if not path.is_file():
        raise ArtifactError("no such quote", where=str(path), next_step="make one: penjing quote DATA")
    if path.stat().st_size > MAX_QUOTE_BYTES:
        raise ArtifactError(f"larger than {MAX_QUOTE_BYTES} bytes", where=str(path), expected="a quote")
    try:
        values = json.loads(path.read_bytes())
        if int(values["version"]) != QUOTE_VERSION:
            raise ArtifactError(
                f"quote version {values['version']}",
                where=str(path),
                expected=str(QUOTE_VERSION),
                next_step="delete it and quote again",
            )
        return Quote.model_validate(values)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(f"not a quote ({detail})", where=str(path), next_step="delete it and quote again") from None
