"""A candidate and what was measured of it: what it answers on the validation rows, and what that costs here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from penjing.compress.answers import settled
from penjing.compress.step import StepConfig
from penjing.core.artifact import Artifact, write_atomic
from penjing.core.budget import Budget
from penjing.core.cpu import read_cpu
from penjing.core.task import Prediction, Stats, Table
from penjing.evaluate.evaluate import raw_logits
from penjing.predict.invariance import is_batch_invariant
from penjing.predict.measure import Measurement, measure
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup
from penjing.search.pareto import Point

# Budget key → figure of a measurement, and whether more of it is better.
LIMITS: Mapping[str, tuple[str, bool]] = {
    "p95_ms": ("p95_ms", False),
    "rows_per_s": ("rows_per_s", True),
    "size_mb": ("size_mb", False),
    "ram_mb": ("peak_ram_mb", False),
}


CERTIFICATE_MB = 0.008  # how it is best run, written into it at the end


@dataclass(frozen=True)
class Candidate:
    """One artifact under one setup.

    Args:
        name: for tables and charts.
        chain: the steps that made it; none of the model that was given.
        artifact: among the links, or the root; further steps are applied to it.
        shipped: as it is measured and would be delivered: the same, or packed.
        cost: as measured here, in one fresh process.
        value: primary metric on the validation rows, as the task gives it.
        lost: how much less that is than the root's, on the budget's scale (points of percent, or as it is).
        judged: what is lost as a choice is made by, see `judging.judged_loss`.
        invariant: whether an answer never depends on the rows beside it.
    """

    name: str
    chain: tuple[StepConfig, ...]
    artifact: Artifact = field(repr=False)
    shipped: Artifact = field(repr=False)
    cost: Measurement
    value: float
    lost: float
    judged: float
    invariant: bool

    def excess(self, budget: Budget) -> dict[str, float]:
        """Limit → by what factor it is missed, for those of the budget that are; with the certificate to come."""
        return excess(budget, self.finished_cost)

    @property
    def finished_cost(self) -> Measurement:
        """With the certificate that is written at the end."""
        return replace(self.cost, size_mb=self.cost.size_mb + (CERTIFICATE_MB if self.chain else 0.0))

    def point(self) -> Point:
        """Where it stands among others: quality against every cost."""
        cost = self.cost
        costs = {"p50": cost.p50_ms, "rate": -cost.rows_per_s, "size": cost.size_mb, "ram": cost.peak_ram_mb}
        return Point(self.name, -self.judged, costs)


def excess(budget: Budget, cost: Measurement) -> dict[str, float]:
    """Limit → by what factor it is missed, for those of the budget that are."""
    found = {}
    for name, (figure, more) in LIMITS.items():
        limit = getattr(budget, name)
        if limit is not None:
            there = getattr(cost, figure)
            factor = limit / there if more else there / limit
            if factor > 1:
                found[name] = round(factor, 4)
    return found


def has_cost_limits(budget: Budget) -> bool:
    """Whether the budget limits what a prediction may cost."""
    return any(getattr(budget, name) is not None for name in LIMITS)


class Measurer:
    """Measures artifacts, each once: what was measured on this processor is found again in a file.

    Args:
        inputs: rows without labels.
        concurrency: callers at the same time.
        directory: where measurements are kept.
        seconds: spent on latency, and again on throughput.
    """

    def __init__(self, inputs: Sequence[Any], concurrency: int, directory: Path, seconds: float = 0.5) -> None:
        self.inputs = inputs
        self.concurrency = concurrency
        self.directory = directory
        self.seconds = seconds

    def cost(self, artifact: Artifact, setup: Setup) -> Measurement:
        """What an artifact costs under a setup."""
        facts = [artifact.digest, setup.to_json(), self.concurrency, asdict(read_cpu()), self.seconds]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        kept = self.directory / f"{key}.json"
        if kept.is_file():
            values = json.loads(kept.read_text(encoding="utf-8"))
            return Measurement(**{**values, "setup": Setup.from_json(values["setup"])})
        found = measure(
            artifact, self.inputs, concurrency=self.concurrency, setup=setup, seconds=self.seconds, num_processes=1
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, json.dumps(found.to_json()) + "\n")
        return found


@dataclass(frozen=True)
class Quality:
    """What an artifact answers on the validation rows.

    Args:
        value: primary metric.
        predictions: one a row.
        invariant: whether they never depend on the rows beside them.
        stats: what the metrics are made of; None: nothing was predicted.
    """

    value: float
    predictions: list[Prediction] = field(repr=False)
    invariant: bool
    stats: Stats | None = field(default=None, repr=False)


def quality(artifact: Artifact, setup: Setup, valid: Table) -> Quality:
    """Label the validation rows and score the answers."""
    predictor = Predictor(artifact, setup=setup)
    task = predictor.task
    predictions = predictor.predict(valid.rows)
    if task.calibration == "sigmoid" and len(valid):  # thresholds decide; of one class of several the greatest does
        task, predictions = settled(task, valid, raw_logits(task, predictions))
    stats = task.score(valid.rows, predictions)
    value = float(task.aggregate(stats)[task.primary])
    return Quality(value, predictions, is_batch_invariant(predictor, valid.rows), stats)


def chain_name(chain: Sequence[StepConfig], setup: Setup | None = None) -> str:
    """A chain in a few words: "vocabulary > distil 2x256 > static-int8 @ openvino"."""
    name = " > ".join(step_name(step.model_dump()) for step in chain) or "as it was"
    return name if setup is None else f"{name} @ {way_name(setup)}"


def way_name(setup: Setup) -> str:
    """A way to run a model in a word or two: "openvino bf16"."""
    return setup.backend if setup.precision == "fp32" else f"{setup.backend} {setup.precision}"


def step_name(step: Mapping[str, Any]) -> str:
    """A step, as a recipe or a manifest has it, in a few words."""
    return f"{step['method']} {shape_name(step)}".strip()


def shape_name(sizes: Mapping[str, Any]) -> str:
    """Sizes of a student in a word, "2x384, 4 heads, 768 inside", or shares that are kept, "33% heads, 17% neurons";
    nothing where there are none.
    """
    if sizes.get("keep_at_most"):
        return f"sparing {sizes['keep_at_most']}"
    if sizes.get("keep_heads") == sizes.get("keep_neurons") == 1:
        return "taught on"
    if "keep_heads" in sizes:
        return f"{sizes['keep_heads']:.0%} heads, {sizes['keep_neurons']:.0%} neurons"
    named = [f"{sizes['layers']}x{sizes.get('hidden') or 'same'}"] if sizes.get("layers") is not None else []
    if not named and sizes.get("hidden"):
        named = [str(sizes["hidden"])]
    if named and sizes.get("phrases"):
        named += [f"{sizes['phrases']} phrases"]
    if named and "loss" in sizes:
        named += [f"loss {sizes['loss']:g}"]
    if sizes.get("layers"):
        named += [f"{sizes['heads']} heads"] if sizes.get("heads") else []
        named += [f"{sizes['feed_forward']} inside"] if sizes.get("feed_forward") else []
    return ", ".join(named)
