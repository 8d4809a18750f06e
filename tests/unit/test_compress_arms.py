"""How a search shares its time out among students: by a clock that only teaching moves on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penjing.compress import arms
from penjing.compress.arms import ENOUGH_STEPS, FIRST_STEPS, MOST_STEPS, PACE_STEPS, ROWS, taught, taught_phrases
from penjing.compress.config import CompressConfig
from penjing.compress.measured import Candidate, Quality, chain_name
from penjing.compress.shapes import products
from penjing.compress.standing import Search
from penjing.compress.student import Shape
from penjing.core.budget import Budget
from penjing.core.task import Metric
from penjing.models.encoder import EncoderConfig
from penjing.predict.measure import Measurement
from penjing.predict.setup import Setup

TEXTS, SIZE = 6_400, 32
SHAPES = [Shape(2, 384, 1536, 12), Shape(2, 384, 384, 4), Shape(1, 384, 384, 4), Shape(0, 384, 1, 1)]
TASK = SimpleNamespace(primary="accuracy", metrics={"accuracy": Metric(share=True)})
CONFIG = EncoderConfig(vocab_size=10, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=9)
SECONDS = 100.0  # that a pass over the lessons takes the dearest


class Clock:
    now = 0.0


class Shop:
    """Makes nothing, and takes the time that teaching would."""

    root = None
    num_lessons = TEXTS

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory, self.clock = directory, clock

    def make(self, chain: Any, max_minutes: float | None = None) -> Any:
        step = chain[-1]
        shape = Shape(step.layers, step.hidden, step.feed_forward, step.heads, step.phrases)
        minutes = (step.epochs or 1.0) * SECONDS * products(shape, SIZE) / products(SHAPES[0], SIZE) / 60
        if step.phrases and max_minutes is not None:
            minutes = min(minutes, max_minutes)  # their passes are not planned: they are cut short
        assert max_minutes is None or minutes <= 1.2 * max_minutes, "more than there was time for"
        self.clock.now += 60 * minutes
        yield from ()
        return SimpleNamespace(manifest={"steps": [{"facts": {"minutes": minutes}}]})


class Fake(Search):
    lost: dict[int, float]
    has_ngrams = False

    def packs(self, artifact: Any, more_mb: float = 0.0) -> bool:
        return False

    def judge(self, chain: Any, artifact: Any, shipped: Any = None) -> list[Candidate]:
        cost = Measurement(1, 1, 1, 1, 1, 1, 1, 1, 1, Setup())
        lost = self.lost[chain[-1].phrases or chain[-1].layers]
        found = Candidate(chain_name(chain), tuple(chain), artifact, artifact, cost, 0.9, lost, lost, True)
        self.tried.append(found)
        return [found]


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Any], Fake]]:
    """Teach under a limit of time; the chains that came of it, and the search."""
    monkeypatch.setattr(arms, "encoder_config", lambda root: SimpleNamespace(head_size=SIZE))

    def run(seconds: float, shapes=SHAPES, drop=1.0, goal="speed", lost=None, phrases=False) -> tuple[list[Any], Fake]:
        clock = Clock()
        monkeypatch.setattr(time, "monotonic", lambda: clock.now)
        found = Fake(
            shop=Shop(tmp_path, clock),  # type: ignore[arg-type]
            budget=Budget(drop=drop),
            config=CompressConfig(goal=goal),
            measurer=None,  # type: ignore[arg-type]
            setups=[Setup()],
            task=TASK,  # type: ignore[arg-type]
            root=Quality(0.9, [], True),
            deadline=seconds,
        )
        found.lost = lost or {2: 0.1, 1: 0.5, 0: 3.0}
        work = taught_phrases(found, CONFIG, []) if phrases else taught(found, list(shapes), [])
        while True:
            try:
                next(work)
            except StopIteration as stop:
                return stop.value, found

    return run


def steps_of(found: Fake) -> list[tuple[int, int, int]]:
    """(layers, neurons, steps) of all that was taught and judged."""
    return [
        (one.chain[-1].layers, one.chain[-1].feed_forward, round(one.chain[-1].epochs * TEXTS / ROWS))
        for one in found.tried
    ]


ENOUGH = SECONDS * ENOUGH_STEPS * ROWS / TEXTS  # seconds of teaching the dearest


def test_with_much_time_all_are_taught_a_little_and_two_of_them_long(searched):
    chains, found = searched(10 * ENOUGH)
    steps = steps_of(found)
    assert [one[2] for one in steps[:4]] == [FIRST_STEPS] * 4
    assert len(steps) == 6 and all(one[2] >= ENOUGH_STEPS for one in steps[4:])
    assert max(one[2] for one in steps) <= MOST_STEPS
    assert len(chains) == 2 and chains[0][-1].layers == 1  # for speed: the smallest that holds


def test_for_accuracy_the_best_comes_first(searched):
    chains, _ = searched(10 * ENOUGH, goal="accuracy")
    assert chains[0][-1].layers == 2


def test_with_little_time_one_student_gets_all_of_it(searched):
    chains, found = searched(1.3 * ENOUGH, goal="accuracy")
    ((layers, neurons, steps),) = steps_of(found)
    assert (layers, neurons) == (2, 1536) and len(chains) == 1
    assert ENOUGH_STEPS <= steps <= MOST_STEPS


def test_what_cannot_be_taught_enough_is_not_begun(searched):
    _, found = searched(0.8 * ENOUGH, goal="accuracy")
    assert steps_of(found)[0][:2] == (2, 384)


def test_where_there_is_time_for_none_the_smallest_is_taught(searched):
    _, found = searched(2 * SECONDS * PACE_STEPS * ROWS / TEXTS, goal="accuracy", shapes=SHAPES[:2])
    assert [one[:2] for one in steps_of(found)] == [(2, 384)]


def test_for_speed_smaller_ones_follow_as_long_as_they_hold(searched):
    chains, found = searched(1.9 * ENOUGH)
    assert [one[:2] for one in steps_of(found)][:2] == [(2, 1536), (2, 384)]
    held = [one.chain[-1] for one in found.tried if one.lost <= 1.0]
    assert len(held) >= 2 and chains[0][-1] == held[-1], "the smallest that holds comes first"
    _, failing = searched(1.9 * ENOUGH, drop=0.05)
    assert len(steps_of(failing)) == 1, "what a larger one cannot hold a smaller one is not asked for"


def test_a_search_that_goes_on_decides_as_it_did(searched):
    _, first = searched(1.3 * ENOUGH, goal="accuracy")
    _, again = searched(1.1 * ENOUGH, goal="accuracy")  # less time is left now
    assert steps_of(again) == steps_of(first)


def test_another_budget_has_decisions_of_its_own(searched):
    _, first = searched(1.3 * ENOUGH, goal="accuracy")
    _, other = searched(1.1 * ENOUGH, goal="accuracy", drop=2.0)
    assert steps_of(other) != steps_of(first)


@pytest.mark.parametrize(
    ("lost", "taught_sizes", "best"),
    [
        ({384: 0.1, 256: 0.5, 192: 0.9}, [256, 192], 192),  # the middle one holds: a smaller one may, too
        ({384: 0.1, 256: 0.5, 192: 1.9}, [256, 192], 256),
        ({384: 0.1, 256: 1.3, 192: 1.9}, [256, 384], 384),  # it does not: a larger one may
        ({384: 1.2, 256: 1.3, 192: 1.9}, [256, 384], 384),  # none does, and this one misses by least
        ({384: 0.1, 256: 1.9, 192: 2.9}, [256], 256),  # it is far off: the time is for others
    ],
)
def test_of_students_without_layers_the_smallest_that_holds_comes_first(searched, lost, taught_sizes, best):
    chains, found = searched(100 * SECONDS, lost=lost, phrases=True)
    assert [one.chain[-1].phrases for one in found.tried] == taught_sizes
    assert chains[0][-1].phrases == best and len(chains) == len(taught_sizes)


def test_a_second_one_without_layers_is_taught_only_while_there_is_time(searched):
    chains, found = searched(0.0, lost={256: 1.5}, phrases=True)
    assert len(chains) == len(found.tried) == 1


def test_one_that_gains_is_followed_by_a_smaller_one(searched):
    _, found = searched(100 * SECONDS, lost={256: -0.4, 192: -0.1}, phrases=True)
    assert [one.chain[-1].phrases for one in found.tried] == [256, 192]
