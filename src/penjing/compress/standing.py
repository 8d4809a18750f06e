"""What a search knows so far: what was tried, what of it fits, and what would be taken now."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from penjing.compress.chain import Workshop
from penjing.compress.config import CompressConfig
from penjing.compress.encoders import has_layers, has_ngrams
from penjing.compress.judging import judged_loss
from penjing.compress.measured import (
    CERTIFICATE_MB,
    Candidate,
    Measurer,
    Quality,
    chain_name,
    excess,
    has_cost_limits,
    quality,
    way_name,
)
from penjing.compress.step import Method, StepConfig
from penjing.core import registry
from penjing.core.artifact import Artifact, size_bytes, write_atomic
from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError
from penjing.core.task import Task
from penjing.evaluate.evaluate import unit_groups
from penjing.predict.measure import Measurement
from penjing.predict.setup import DEFAULT_BACKEND, Setup

PLAN = "plan.json"
# A first stage that answers nine rows of ten makes about this much of the rate of the model behind it.
CASCADE_RATE = 4.0
# Goals that are met by speed → what is least where it is best.
SPEEDS: dict[str, Callable[[Measurement], float]] = {
    "speed": lambda cost: cost.p50_ms / cost.rows_per_s,
    "throughput": lambda cost: 1 / cost.rows_per_s,
    "latency": lambda cost: cost.p95_ms,
}
ENOUGH_WORSE = 4
# No model becomes so much smaller by being packed, but one of zeros.
PACKED_TIMES = 4.0
# Two measurements of one model differ by so much.
SAME_COST = 1.05
# A tenth of a point of the metric, or a hundredth of a limit.
HARDLY_MORE = 0.01


@dataclass
class Search:
    """What is known so far.

    Args:
        shop: makes chains.
        budget: what has to fit.
        config: settings.
        measurer: of costs.
        setups: ways to run each candidate.
        task: the root's.
        root: what the model that is compressed answers on the validation rows.
        deadline: on the clock of `time.monotonic`.
        tried: all candidates that were measured, in that order.
        refusals: way to run → why it cannot run some candidates.
        told: those reasons that the user has heard.
        worse: way to run → models in a row that it ran worse than the default, see `_note_worse`.
        given: the chain that was asked for; None: whatever is best.
    """

    shop: Workshop
    budget: Budget
    config: CompressConfig
    measurer: Measurer
    setups: Sequence[Setup]
    task: Task
    root: Quality
    deadline: float
    tried: list[Candidate] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    worse: dict[str, int] = field(default_factory=dict)
    given: tuple[StepConfig, ...] | None = None

    def decided(self, name: str, value: Any) -> Any:
        """A choice that depends on the clock, as it was made the first time: a search that goes on makes the same.

        One that asks for something else makes its own.
        """
        name = f"{name} @ {question(self.budget, self.config)}"
        path = self.shop.directory / PLAN
        plan = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if name not in plan:
            plan[name] = value
            write_atomic(path, json.dumps(plan) + "\n")
        return plan[name]

    def has_time(self, what: str, seconds: float = 0.0) -> bool:
        """Whether more than so much time is left for something; as it was the first time, see `decided`."""
        return bool(self.decided(f"time for {what}", self.left() > seconds))

    def has_time_for(self, chain: Sequence[StepConfig]) -> bool:
        """Whether time is left for making a chain, likewise."""
        return bool(self.decided_of(chain, "time for", self.left() > 0))

    def decided_of(self, chain: Sequence[StepConfig], what: str, value: Any) -> Any:
        """What a search makes of a chain, kept as all that is `decided`: predictions made anew may turn a near tie."""
        steps = json.dumps([step.model_dump(mode="json") for step in chain], sort_keys=True)
        digest = hashlib.sha256(steps.encode()).hexdigest()[:12]
        return self.decided(f"{what} {chain_name(chain)} {digest}", value)

    def allowed(self, method: str) -> bool:
        """Whether the recipe, the task and what the root keeps of its layers allow a method."""
        known: Method = registry.resolve("compressors", method)
        named = self.config.methods is None or method in self.config.methods
        learns = known.torch is not None or known.wrap is not None
        return named and known.supports(self.task) is None and not (learns and not has_layers(self.shop.root))

    @cached_property
    def has_ngrams(self) -> bool:
        """Whether a linear model over n-grams stands beside the encoder."""
        return has_ngrams(self.shop.root)

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def judge_root(self, root: Artifact) -> list[Candidate]:
        """Measure what is to be compressed.

        Raises:
            CapabilityError: none of the backends that were asked for can run it.
        """
        return self.judge_all((), root)

    def judge_all(self, chain: Sequence[StepConfig], artifact: Artifact) -> list[Candidate]:
        """As `judge`, of what has to be measured under one setup at least.

        Raises:
            CapabilityError: none of the backends that were asked for can run it.
        """
        found = self.judge(chain, artifact)
        if not found:
            raise CapabilityError(
                f"none of the backends that were asked for can run it: {'; '.join(self.refusals.values())}",
                where="compress.backends",
                next_step="leave compress.backends out, or name onnxruntime among them",
            )
        return found

    def costs(self, artifact: Artifact) -> Iterator[tuple[Setup, Measurement]]:
        """What an artifact costs under every setup that can run it, measured as it is asked for; who cannot is noted
        among the refusals.
        """
        for setup in self.setups:
            name = way_name(setup)
            if self.worse.get(name, 0) >= ENOUGH_WORSE and self.config.backends is None:
                self.refusals[name] = f"{name} ran {ENOUGH_WORSE} models worse than {DEFAULT_BACKEND}: left out"
                continue
            try:
                yield setup, self.measurer.cost(artifact, setup)
            except CapabilityError as error:
                if setup.backend == DEFAULT_BACKEND:
                    raise
                self.refusals[name] = f"{name} is left out for some: {error.finding}"

    def _note_worse(self, costs: Sequence[tuple[Setup, Measurement]]) -> None:
        """Count models in a row that a backend ran worse than the default by every figure: after some it is measured
        no more, for the time is for teaching. How the chosen model is run best is measured at the end, on all of them.
        """
        default = next((cost for setup, cost in costs if setup.backend == DEFAULT_BACKEND), None)
        for setup, cost in costs:
            if default is not None and setup.backend != DEFAULT_BACKEND:
                figures = (*SPEEDS.values(), lambda one: one.peak_ram_mb)
                worse = all(figure(cost) > figure(default) for figure in figures)
                name = way_name(setup)
                self.worse[name] = self.worse.get(name, 0) + 1 if worse else 0

    def packs(self, artifact: Artifact, more_mb: float = 0.0) -> bool:
        """Whether a model's files are packed: where they have to be, and can be small enough by that.

        Args:
            artifact: not packed.
            more_mb: megabytes that will come to it.
        """
        if not self.allowed("pack"):
            return False
        if self.budget.size_mb is None:
            return self.goal == "size"
        size = size_bytes(artifact) / 1e6 + more_mb + CERTIFICATE_MB
        return self.goal == "size" or self.budget.size_mb < size <= PACKED_TIMES * self.budget.size_mb

    def can_fit(self, artifact: Artifact, first_mb: float) -> bool:
        """Whether an untaught model costs little enough: by itself, or behind a first stage of so many megabytes, where
        what is to be fast will stand.
        """
        staged = self.allowed("cascade")
        for _, cost in self.costs(artifact):
            behind = replace(cost, size_mb=cost.size_mb + first_mb, rows_per_s=CASCADE_RATE * cost.rows_per_s)
            if staged and not excess(self.budget, behind):
                return True
            if not (staged and self.fast) and not excess(self.budget, cost):
                return True
        return False

    def judge(
        self, chain: Sequence[StepConfig], artifact: Artifact, shipped: Artifact | None = None
    ) -> list[Candidate]:
        """Measure an artifact under every setup that can run it, and note what was found.

        Args:
            chain: that made it.
            artifact: that steps to come are applied to.
            shipped: as it would be delivered, where that is packed.
        """
        shipped = shipped or artifact
        found, costs = [], list(self.costs(shipped))
        if chain:
            self._note_worse(costs)
        for setup, cost in costs:
            now = quality(shipped, setup, self.shop.splits.valid)
            lost = self._lost(now.value)
            judged = self._judged(now, lost)
            name = chain_name(chain, setup)
            found.append(Candidate(name, tuple(chain), artifact, shipped, cost, now.value, lost, judged, now.invariant))
        self.tried += found
        return found

    @property
    def scale(self) -> float:
        """The budget's of the primary metric: 100 where that is a share, else 1."""
        return 100.0 if self.task.metrics[self.task.primary].percent else 1.0

    @property
    def limits_quality(self) -> bool:
        """Whether the budget says how good the model has to be."""
        return self.budget.drop is not None or self.budget.metric is not None

    def _judged(self, now: Quality, lost: float) -> float:
        if self.root.stats is None or now.stats is None or not len(now.stats):
            return lost
        before, after = (self.root.stats, self.root.predictions), (now.stats, now.predictions)
        splits = self.shop.splits
        groups = unit_groups(splits.roles.group, splits.valid, now.stats)
        return judged_loss(self.task, before, after, groups)

    def result(self, chain: Sequence[StepConfig]) -> Candidate | None:
        """What a chain gave under the first setup that could run it; None: it was not tried."""
        return next((one for one in self.tried if one.chain == tuple(chain)), None)

    def _lost(self, value: float) -> float:
        metric = self.task.metrics[self.task.primary]
        scale = (100.0 if metric.percent else 1.0) * (1.0 if metric.higher_is_better else -1.0)
        return scale * (self.root.value - value)

    def holds(self, candidate: Candidate) -> bool:
        """Whether a candidate fits, as far as the validation rows and this machine tell."""
        may_vary = self.config.allow_batch_variant or self.given is not None  # who names a step wants what it does
        if candidate.excess(self.budget) or not (candidate.invariant or may_vary):
            return False
        return self.quality_gap(candidate) <= 0

    def quality_gap(self, candidate: Candidate) -> float:
        """By how much the primary metric is too low for the budget, on its scale; negative where it is not."""
        gaps = [0.0] if self.budget.drop is None and self.budget.metric is None else []
        if self.budget.drop is not None:
            gaps.append(candidate.judged - self.budget.drop)
        if self.budget.metric is not None:
            sign = 1.0 if self.task.metrics[self.task.primary].higher_is_better else -1.0
            gaps.append(sign * (self.budget.metric - self.judged_metric(candidate)))
        return max(gaps)

    def may_lose(self) -> float:
        """How much of the primary metric the model that is compressed may lose, on the budget's scale; without a limit
        infinity.
        """
        whole = self.result(())
        return -self.quality_gap(whole) if whole is not None and self.limits_quality else math.inf

    def judged_metric(self, candidate: Candidate) -> float:
        """The primary metric on the budget's scale, by the loss that decides."""
        metric = self.task.metrics[self.task.primary]
        scale, sign = 100.0 if metric.percent else 1.0, 1.0 if metric.higher_is_better else -1.0
        return scale * self.root.value - sign * candidate.judged

    def best(self) -> Candidate | None:
        """The best candidate that fits, by the goal; None: none does."""
        fitting = [candidate for candidate in self.eligible() if self.holds(candidate)]
        return self._preferred(fitting) if fitting else None

    @property
    def goal(self) -> str:
        """One of `CompressConfig.goal`: where none was asked for, what the budget leaves open."""
        return goal_of(self.budget, self.config)

    @property
    def fast(self) -> bool:
        """Whether what is best is what is quickest."""
        return self.goal in SPEEDS

    def _preferred(self, candidates: Sequence[Candidate]) -> Candidate:
        """The best by the goal; of those that are as quick, as far as measurements tell, the one that loses least."""
        if self.goal == "accuracy":
            return min(candidates, key=lambda one: (one.judged, -one.cost.rows_per_s))
        if self.goal == "size":
            return min(candidates, key=lambda one: (one.cost.size_mb, one.judged))
        quick = SPEEDS[self.goal]
        least = min(quick(one.cost) for one in candidates)
        return min(
            (one for one in candidates if quick(one.cost) <= SAME_COST * least),
            key=lambda one: (one.judged, quick(one.cost)),
        )

    def nearest(self) -> Candidate:
        """Of all candidates the one that misses by least: limits by their factors, the metric by its points.

        Among those that miss by hardly more, which validation rows cannot tell from it, the goal decides.
        """

        def distance(candidate: Candidate) -> float:
            factors = candidate.excess(self.budget).values()
            points = 10.0 if self.task.metrics[self.task.primary].percent else 0.1
            return sum(factor - 1 for factor in factors) + max(0.0, self.quality_gap(candidate)) / points

        usable = [one for one in self.eligible() if one.invariant or self.config.allow_batch_variant]
        usable = usable or self.eligible()
        least = min(map(distance, usable))
        return self._preferred([one for one in usable if distance(one) <= least + HARDLY_MORE])

    def eligible(self) -> list[Candidate]:
        """Candidates that may be chosen: all, or those of the chain that was given."""
        return [one for one in self.tried if self.given is None or one.chain == self.given]


def goal_of(budget: Budget, config: CompressConfig) -> str:
    """One of `CompressConfig.goal`: where none was asked for, what the budget leaves open."""
    if config.goal != "auto":
        return config.goal
    return "accuracy" if has_cost_limits(budget) else "speed"


def question(budget: Budget, config: CompressConfig) -> str:
    """Digest of what a search is asked for."""
    asked = [budget.model_dump(), goal_of(budget, config), config.model_dump(mode="json", exclude={"goal"})]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
