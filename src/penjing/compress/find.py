"""The search for the best chain that fits the budget.

What a student costs is known before it has learned anything, so shapes are measured first, untaught, and only those
that can fit are taught: a few of them a little, the better ones more. What follows a student (int8, a first stage) is
cheap to try and tried on the best. Everything that was made or measured is kept by what it was made of, so a search
that was killed goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from penjing.compress.cascade import CascadeConfig
from penjing.compress.chain import Workshop, encoder_config, has_layers
from penjing.compress.config import CompressConfig
from penjing.compress.measured import Candidate, Measurer, chain_name, has_cost_limits, quality, shape_name
from penjing.compress.prune_vocabulary import VocabularyConfig
from penjing.compress.shapes import all_shapes, products, spread
from penjing.compress.static_int8 import StaticInt8Config
from penjing.compress.step import Method, StepConfig
from penjing.compress.student import Shape
from penjing.compress.teach import DistilConfig, epochs_of
from penjing.core import registry
from penjing.core.artifact import Artifact, write_atomic
from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError
from penjing.core.events import Event, Notice
from penjing.core.task import Task
from penjing.models.encoder import EncoderConfig
from penjing.predict.setup import DEFAULT_BACKEND, Setup
from penjing.search.halving import halve

MAX_ARMS = 4
# Steps of teaching: of all arms, and of the finalists at most.
FIRST_STEPS, MOST_STEPS = 500, 8_000
# A first stage that answers three rows of four makes about this much of the rate of the model behind it.
CASCADE_RATE = 3.0
# Of the time, what measuring untaught students may take, and what the last round of teaching has to leave.
PRICE_SHARE, TAIL_SHARE = 0.15, 0.15
READ_SHARE = 0.12  # for the teacher to read what students learn from
PLAN = "plan.json"
LEARNING_RATE = 8e-4  # of what has lost heads and neurons, and has much to learn again


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
        root_value: the root's primary metric on the validation rows.
        deadline: on the clock of `time.monotonic`.
        tried: all candidates that were measured, in that order.
        refusals: backend → why it cannot run some candidates.
        given: the chain that was asked for; None: whatever is best.
    """

    shop: Workshop
    budget: Budget
    config: CompressConfig
    measurer: Measurer
    setups: Sequence[Setup]
    task: Task
    root_value: float
    deadline: float
    tried: list[Candidate] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    given: tuple[StepConfig, ...] | None = None

    def decided(self, name: str, value: Any) -> Any:
        """A choice that depends on the clock, as it was made the first time: a search that goes on makes the same."""
        path = self.shop.directory / PLAN
        plan = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if name not in plan:
            plan[name] = value
            write_atomic(path, json.dumps(plan) + "\n")
        return plan[name]

    def allowed(self, method: str) -> bool:
        """Whether the recipe, the task and what the root keeps of its layers allow a method."""
        known: Method = registry.resolve("compressors", method)
        named = self.config.methods is None or method in self.config.methods
        learns = known.torch is not None or known.wrap is not None
        return named and known.supports(self.task) is None and not (learns and not has_layers(self.shop.root))

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def judge(self, chain: Sequence[StepConfig], artifact: Artifact) -> list[Candidate]:
        """Measure an artifact under every setup that can run it, and note what was found."""
        found = []
        for setup in self.setups:
            try:
                value, invariant = quality(artifact, setup, self.shop.splits.valid)
            except CapabilityError as error:
                if setup.backend == DEFAULT_BACKEND:
                    raise
                self.refusals[setup.backend] = f"{setup.backend} is left out for some: {error.finding}"
                continue
            cost = self.measurer.cost(artifact, setup)
            lost = self._lost(value)
            found.append(Candidate(chain_name(chain, setup), tuple(chain), artifact, cost, value, lost, invariant))
        self.tried += found
        return found

    def _lost(self, value: float) -> float:
        metric = self.task.metrics[self.task.primary]
        scale = (100.0 if metric.percent else 1.0) * (1.0 if metric.higher_is_better else -1.0)
        return scale * (self.root_value - value)

    def holds(self, candidate: Candidate) -> bool:
        """Whether a candidate fits, as far as the validation rows and this machine tell."""
        if candidate.excess(self.budget) or not (candidate.invariant or self.config.allow_batch_variant):
            return False
        return self.quality_gap(candidate) <= 0

    def quality_gap(self, candidate: Candidate) -> float:
        """By how much the primary metric is too low for the budget, on its scale; negative where it is not."""
        gaps = [0.0] if self.budget.drop is None and self.budget.metric is None else []
        if self.budget.drop is not None:
            gaps.append(candidate.lost - self.budget.drop)
        if self.budget.metric is not None:
            metric = self.task.metrics[self.task.primary]
            sign = 1.0 if metric.higher_is_better else -1.0
            gaps.append(sign * (self.budget.metric - candidate.value * (100.0 if metric.percent else 1.0)))
        return max(gaps)

    def best(self) -> Candidate | None:
        """The best candidate that fits, by the goal; None: none does."""
        fitting = [candidate for candidate in self.eligible() if self.holds(candidate)]
        return min(fitting, key=self.goal_key(), default=None)

    def goal_key(self) -> Callable[[Candidate], tuple[float, ...]]:
        """What is best among those that fit, the least first."""
        goal = self.config.goal
        if goal == "auto":
            goal = "accuracy" if has_cost_limits(self.budget) else "speed"
        if goal == "accuracy":
            return lambda candidate: (candidate.lost, -candidate.cost.rows_per_s)
        if goal == "size":
            return lambda candidate: (candidate.cost.size_mb, candidate.lost)
        return lambda candidate: (candidate.cost.p50_ms / candidate.cost.rows_per_s, candidate.lost)

    def nearest(self) -> Candidate:
        """Of all candidates the one that misses by least: limits by their factors, the metric by its points."""

        def distance(candidate: Candidate) -> float:
            factors = candidate.excess(self.budget).values()
            return sum(factor - 1 for factor in factors) + max(0.0, self.quality_gap(candidate)) / 10

        usable = [one for one in self.eligible() if one.invariant or self.config.allow_batch_variant]
        return min(usable or self.eligible(), key=distance)

    def eligible(self) -> list[Candidate]:
        """Candidates that may be chosen: all, or those of the chain that was given."""
        return [one for one in self.tried if self.given is None or one.chain == self.given]


def search(found: Search, root: Artifact) -> Generator[Event, None, None]:
    """Fill `found.tried` until the time is up or there is nothing left to try.

    Args:
        found: with nothing tried yet.
        root: the artifact to be compressed, which is the first candidate.

    Yields:
        Progress and notices.
    """
    rate = max(candidate.cost.rows_per_s for candidate in found.judge((), root))
    yield from (Notice("compress", text) for text in found.refusals.values())
    affordable = READ_SHARE * found.left() * rate / max(1, len(found.shop.splits.train)) - 1
    altered = min(found.config.altered, max(0, int(affordable)))
    found.shop.altered = found.decided("altered", altered)
    head: list[StepConfig] = [VocabularyConfig()] if found.allowed("vocabulary") else []
    tail: list[StepConfig] = [StaticInt8Config()] if found.allowed("static-int8") else []
    blank: list[StepConfig] = [StaticInt8Config(keep_at_most=0)] if tail else []  # whose answers do not matter
    for chain in filter(None, (head, [*head, *tail] if tail else [])):
        yield from _try(found, chain)
    if not found.allowed("distil"):
        return
    encoder = encoder_config(root)
    shapes = yield from _shapes_that_fit(found, encoder, head, blank)
    if not shapes:
        return
    students = yield from _taught(found, shapes, head)
    for chain in students:
        for more in filter(None, _tails(found, tail)):
            if found.left() <= 0:
                return
            yield from _try(found, [*chain, *more])


def _tails(found: Search, tail: list[StepConfig]) -> list[list[StepConfig]]:
    """What may follow a student."""
    first: list[list[StepConfig]] = []
    if found.allowed("cascade"):
        first = [[CascadeConfig()]]
    return [tail, *([*tail, *stage] for stage in first), *(first if tail else [])]


def _try(found: Search, chain: Sequence[StepConfig]) -> Generator[Event, None, list[Candidate]]:
    try:
        artifact = yield from found.shop.make(chain, max_minutes=max(found.left(), 1.0) / 60)
    except CapabilityError as error:  # a step with nothing to change: the 8 bits of a bag of three classes, say
        yield Notice("compress", f"{chain_name(chain)} is left out: {error.finding}")
        return []
    candidates = found.judge(chain, artifact)
    yield _noted(found)
    return candidates


def _noted(found: Search) -> Notice:
    best = found.best() or found.nearest()
    fits = "fits" if found.holds(best) else "does not fit yet"
    cost = best.cost
    return Notice(
        "compress",
        f"best so far: {best.name}, {best.lost:+.2f} lost, {cost.p95_ms:.2f} ms, {cost.rows_per_s:,.0f} rows/s, "
        f"{cost.size_mb:.1f} MB; {fits}",
    )


def _shapes_that_fit(
    found: Search, config: EncoderConfig, head: list[StepConfig], tail: list[StepConfig]
) -> Generator[Event, None, list[Shape]]:
    """Students that can fit, by what they cost untaught: the dearest that do are few steps of halving away."""
    shapes = all_shapes(config)
    until = time.monotonic() + PRICE_SHARE * found.left()
    fits: dict[Shape, bool] = {}

    def price(shape: Shape) -> Generator[Event, None, bool]:
        # A bag of words is priced as it is: there may be nothing in it that 8 bits would change.
        artifact = yield from found.shop.make([*head, _student(shape, 0.0), *(tail if shape.layers else ())])
        ok = False
        for setup in found.setups:
            cost = found.measurer.cost(artifact, setup)
            over = Candidate("", (), artifact, cost, 0.0, 0.0, True).excess(found.budget)
            rate = over.pop("rows_per_s", 1.0)
            ok = ok or (not over and rate <= (CASCADE_RATE if found.allowed("cascade") else 1.0))
        fits[shape] = ok
        return ok

    low, high = 0, len(shapes)  # shapes before `low` do not fit, those from `high` on do
    while low < high and time.monotonic() < until:
        middle = (low + high) // 2
        if (yield from price(shapes[middle])):
            high = middle
        else:
            low = middle + 1
    fitting = shapes[high:] if high < len(shapes) else shapes[low:]
    if not fitting:
        fitting = shapes[-1:]  # nothing fits, and this comes nearest
    size = config.head_size
    # As wide as the teacher a student begins with its vectors, narrower ones with a blurred copy.
    fitting = [shape for shape in fitting if shape.hidden == config.hidden_size] or fitting
    dearest = products(fitting[0], size)
    if has_cost_limits(found.budget):
        near = [shape for shape in fitting if products(shape, size) >= dearest / 4]
    else:
        near = [shape for shape in fitting if products(shape, size) <= dearest / 2] or fitting
    chosen = spread(near, MAX_ARMS, size)
    chosen = [Shape(*sizes) for sizes in found.decided("shapes", [list(vars(shape).values()) for shape in chosen])]
    names = ", ".join(shape_name(vars(shape)) for shape in chosen)
    yield Notice("compress", f"{len(fits)} shapes measured, {len(fitting)} of {len(shapes)} can fit; teaching {names}")
    return chosen


def _student(shape: Shape, epochs: float) -> DistilConfig:
    return DistilConfig(
        layers=shape.layers,
        hidden=shape.hidden,
        feed_forward=shape.feed_forward,
        heads=shape.heads,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
    )


def _taught(
    found: Search, shapes: list[Shape], head: list[StepConfig]
) -> Generator[Event, None, list[list[StepConfig]]]:
    """Teach the shapes a little, and the best of them as long as there is time; their chains, the best first."""
    rates: dict[Shape, float] = {}
    chains: dict[Shape, list[StepConfig]] = {}
    finalists = 2 if len(shapes) > 1 else 1
    head_size = encoder_config(found.shop.root).head_size
    texts = found.shop.num_lessons

    def advance(shape: Shape, rung: int) -> Generator[Event, None, float | None]:
        if found.left() <= 0:
            return None
        epochs = epochs_of(FIRST_STEPS, texts)
        if rung:
            affordable = found.left() * (1 - TAIL_SHARE) / (finalists - len(done)) / rates[shape]
            wanted = max(epochs, min(epochs_of(MOST_STEPS, texts), affordable))
            epochs = found.decided(f"epochs {shape}", round(wanted, 1))
            done.add(shape)
        chain = [*head, _student(shape, epochs)]
        artifact = yield from found.shop.make(chain, max_minutes=max(found.left(), 1.0) / 60)
        facts = artifact.manifest["steps"][-1]["facts"]
        rates[shape] = max(60 * facts["minutes"] / epochs, 1e-3)  # seconds an epoch
        chains[shape] = chain
        candidates = found.judge(chain, artifact)
        yield _noted(found)
        lost = candidates[0].lost
        # Without limits of cost the smallest that holds is wanted, so what holds comes by its size.
        if has_cost_limits(found.budget) or found.budget.drop is None:
            return -lost
        over = lost - found.budget.drop - (1.0 if not rung else 0.0)
        return -max(0.0, over) - 1e-12 * products(shape, head_size)

    done: set[Shape] = set()
    ranked = yield from halve(shapes, advance, [finalists], "compress")
    return [chains[shape] for shape, _ in ranked]
