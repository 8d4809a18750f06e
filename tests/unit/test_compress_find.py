"""In which order a search tries what, and where it ends; nothing is taught, a table says what would have come of it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from penjing.compress import arms, find
from penjing.compress.config import CompressConfig
from penjing.compress.find import search
from penjing.compress.measured import Candidate, Quality, chain_name
from penjing.compress.physics import require_possible
from penjing.compress.prune_structure import PruneStructureConfig
from penjing.compress.standing import Search
from penjing.compress.thin import SHARES
from penjing.core.budget import Budget
from penjing.core.errors import BudgetError, CapabilityError
from penjing.core.events import Notice
from penjing.core.task import Metric
from penjing.models.encoder import EncoderConfig
from penjing.predict.measure import Measurement
from penjing.predict.setup import Setup

CONFIG = EncoderConfig(vocab_size=99, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
TASK = SimpleNamespace(
    primary="accuracy",
    metrics={"accuracy": Metric(share=True)},
    labels=("a", "b"),
    signature=SimpleNamespace(outputs=()),
)
HEADS = [round(heads, 3) for heads, _ in SHARES]
MINUTE = 60.0


def made_of(chain: Any, minutes: float = 0.001) -> SimpleNamespace:
    digest = chain_name(chain)
    facts = {"minutes": minutes, "lessons": 6_400, "samples_per_s": 3_200 / (MINUTE * minutes)}  # half a pass
    return SimpleNamespace(chain=tuple(chain), digest=digest, manifest={"steps": [{"facts": facts}]})


class Shop:
    root = None
    refuses: Callable[[Any], bool] = staticmethod(lambda chain: False)
    num_lessons, altered = 6_400, 3
    pace_minutes = 0.001  # what half a pass over the lessons takes

    def __init__(self, directory: Path, clock: SimpleNamespace) -> None:
        self.directory, self.clock = directory, clock
        self.unlabelled: list[Any] = []
        self.splits = SimpleNamespace(train=range(100))

    def take_unlabelled(self, number: int) -> None:
        pass

    def with_few_rows(self, most: int) -> Shop:
        return self

    def make(self, chain: Any, max_minutes: float | None = None) -> Any:
        last = chain[-1]
        if getattr(last, "epochs", 1.0) and last.method in ("distil", "prune-structure"):
            pace = last.epochs is not None and last.epochs <= 1  # some steps, to see how long they take
            self.clock.now += MINUTE * (0.001 if pace else max_minutes or 1.0)
        yield from ()
        if self.refuses(tuple(chain)):
            raise CapabilityError("the loss is no number", where="train.learning_rate")
        return made_of(chain, self.pace_minutes)

    make_as_far_as_possible = make


class Fake(Search):
    """A search whose models lose and weigh what two functions of their chains say."""

    events: list[Any]
    loses: Callable[[Any], float]
    weighs: Callable[[Any], float]
    has_ngrams = False

    def allowed(self, method: str) -> bool:
        return self.config.methods is None or method in self.config.methods

    def costs(self, artifact: Any) -> list[tuple[Setup, Measurement]]:
        size = self.weighs(artifact.chain)
        return [(Setup(), Measurement(1, 1, 1, 1, 1, 1, size, 1, 1, Setup()))]

    def packs(self, artifact: Any, more_mb: float = 0.0) -> bool:
        limit = self.budget.size_mb
        return self.allowed("pack") and limit is not None and self.weighs(artifact.chain) + more_mb > limit

    def judge(self, chain: Any, artifact: Any, shipped: Any = None) -> list[Candidate]:
        made: Any = made_of(chain)
        shipped = shipped if shipped and shipped.chain != tuple(chain) else made
        lost = self.loses(tuple(chain)) if chain else 0.0
        found = [
            Candidate(chain_name(chain), tuple(chain), made, shipped, cost, 0.9, lost, lost, True)
            for _, cost in self.costs(shipped)
        ]
        self.tried += found
        return found


def methods(chain: Any) -> tuple[str, ...]:
    return tuple(step.method for step in chain)


def is_thin(chain: Any) -> bool:
    return any(isinstance(step, PruneStructureConfig) for step in chain)


def has_fewer_layers(chain: Any) -> bool:
    return any(getattr(step, "layers", 0) for step in chain)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fake]:
    for module in (arms, find):
        monkeypatch.setattr(module, "encoder_config", lambda artifact: CONFIG)
    monkeypatch.setattr("penjing.compress.attempts.standings", lambda found: Notice("compress", "front"))

    def search_for(
        loses, weighs=lambda chain: 1.0, budget=None, goal="speed", minutes=1_000.0, methods=None, refuses=None
    ) -> Fake:
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr(time, "monotonic", lambda: clock.now)
        found = Fake(
            shop=Shop(tmp_path, clock),  # type: ignore[arg-type]
            budget=budget or Budget(drop=0.5),
            config=CompressConfig(goal=goal, methods=methods),
            measurer=None,  # type: ignore[arg-type]
            setups=[Setup()],
            task=TASK,  # type: ignore[arg-type]
            root=Quality(0.9, [], True),
            deadline=MINUTE * minutes,
        )
        found.loses, found.weighs = loses, weighs
        found.shop.refuses = refuses or found.shop.refuses
        found.events = list(search(found, None))  # type: ignore[arg-type]
        return found

    return search_for


def test_where_a_student_without_layers_holds_nothing_else_is_taught(run):
    found = run(lambda chain: 0.1)
    assert not any(is_thin(one.chain) or has_fewer_layers(one.chain) for one in found.tried)


@pytest.mark.parametrize("goal", ["speed", "throughput", "latency"])
def test_thin_layers_come_next_and_end_a_search_for_speed_that_they_satisfy(run, goal):
    found = run(lambda chain: 0.2 if is_thin(chain) or methods(chain) == ("vocabulary",) else 2.0, goal=goal)
    thin = [one.chain for one in found.tried if is_thin(one.chain)]
    followed = [(), ("static-int8",), ("static-int8", "cascade"), ("cascade",)]
    first, on = thin[:4], thin[4:]
    assert [methods(chain)[2:] for chain in first] == followed
    assert thin[0][-1].keep_heads == HEADS[2]  # small ones first, for speed
    # What holds is taught on from where it is, in the rest of the time, with all that is left of it.
    assert all(methods(chain)[1:3] == ("prune-structure",) * 2 for chain in on)
    assert [methods(chain)[3:] for chain in on] == followed
    assert (on[0][-1].keep_heads, on[0][-1].keep_neurons) == (1.0, 1.0) and on[0][-1].epochs > 0
    assert chain_name(on[0]).endswith("> prune-structure taught on")
    assert not any(has_fewer_layers(one.chain) for one in found.tried)


@pytest.mark.parametrize(
    ("budget", "goal", "cost", "stay"),
    [
        (Budget(drop=0.5), "speed", 0.3, True),
        (Budget(drop=0.5), "speed", 0.2, False),
        (Budget(drop=0.5, size_mb=5), "speed", 0.3, False),
        (Budget(drop=0.5, ram_mb=500), "speed", 0.3, False),
        (Budget(drop=0.5), "size", 0.3, False),
        (Budget(p95_ms=5), "speed", 0.6, True),
        (Budget(p95_ms=5), "speed", 0.4, False),
    ],
)
def test_words_that_matter_stay_where_no_bytes_are_limited(run, budget, goal, cost, stay):
    found = run(lambda chain: cost if "vocabulary" in methods(chain) else 0.1, budget=budget, goal=goal)
    later = [one.chain for one in found.tried if one.chain and methods(one.chain) != ("vocabulary",)]
    assert later and all(("vocabulary" not in methods(chain)) is stay for chain in later)
    assert stay is any("all of them stay" in event.text for event in found.events if isinstance(event, Notice))


@pytest.mark.parametrize(
    ("costs", "spared", "learned"),
    [((0.1, 0.1), False, False), ((0.3, 0.1), True, False), ((0.3, 0.3), True, True)],
)
def test_products_are_spared_where_rounding_all_costs_much_and_learning_comes_last(run, costs, spared, learned):
    def loses(chain):
        if not is_thin(chain):
            return 2.0
        rounding = [step for step in chain if step.method == "static-int8"]
        return 0.1 + (0.0 if not rounding else costs[0] if not rounding[0].keep_at_most else costs[1])

    chains = [one.chain for one in run(loses).tried if is_thin(one.chain)]
    assert any(step.method == "static-int8" and step.keep_at_most for chain in chains for step in chain) is spared
    assert any("quantization-aware" in methods(chain) for chain in chains) is learned
    first = next(step for chain in chains for step in chain if step.method == "static-int8")
    assert first.keep_at_most == 0


@pytest.mark.parametrize(
    ("goal", "left", "on"), [("speed", 3.0, True), ("speed", 1.0, False), ("accuracy", 3.0, False)]
)
def test_teaching_goes_on_where_speed_is_wanted_and_time_is_left(run, monkeypatch, goal, left, on):
    """The thin student takes all but some minutes."""
    real = Shop.make

    def make(self: Shop, chain: Any, max_minutes: float | None = None) -> Any:
        made = yield from real(self, chain, max_minutes)
        if methods(chain)[-1:] == ("prune-structure",) and chain[-1].epochs > 1:
            self.clock.now = MINUTE * (30.0 - left)
        return made

    monkeypatch.setattr(Shop, "make", make)
    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, goal=goal, minutes=30.0)
    assert any(methods(one.chain).count("prune-structure") == 2 for one in found.tried) is on


def heads_kept(chain: Any) -> float:
    return next((step.keep_heads for step in chain if isinstance(step, PruneStructureConfig)), 0.0)


@pytest.mark.parametrize(
    "minutes, alone, passes", [(0.001, True, 60.0), (1.0, True, 18.2), (1.0, False, 9.7), (30.0, True, 1.0)]
)
def test_thin_layers_are_taught_for_as_long_as_there_is_time(run, monkeypatch, minutes, alone, passes):
    """Half of it where dearer ones would fit, and may have to follow."""
    monkeypatch.setattr(Shop, "pace_minutes", minutes)

    def weighs(chain: Any) -> float:
        return 9.0 if alone and heads_kept(chain) > HEADS[2] else 1.0

    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, weighs, Budget(drop=1.5, size_mb=5), minutes=33.0)
    taught = next(one.chain[-1].epochs for one in found.tried if is_thin(one.chain))
    assert taught == passes
    kept = json.loads((found.shop.directory / "plan.json").read_text())
    assert any(name.startswith("thin passes") and value == taught for name, value in kept.items())


def test_dearer_shares_follow_until_one_holds(run):
    """How much a task can do without is not known before."""
    losses = {HEADS[2]: 5.0, HEADS[1]: 3.0, HEADS[0]: 1.3}
    found = run(lambda chain: losses.get(heads_kept(chain), 9.0), goal="throughput", budget=Budget(drop=1.5))
    taught = [heads_kept(one.chain) for one in found.tried if is_thin(one.chain)]
    assert list(dict.fromkeys(taught)) == [HEADS[2], HEADS[1], HEADS[0]]
    assert {heads_kept(one.chain) for one in found.tried if one.chain and found.holds(one)} == {HEADS[0]}
    assert not any(has_fewer_layers(one.chain) for one in found.tried)
    losses[HEADS[1]] = 1.4
    found = run(lambda chain: losses.get(heads_kept(chain), 9.0), goal="throughput", budget=Budget(drop=1.45))
    assert not any(heads_kept(one.chain) == HEADS[0] for one in found.tried)


@pytest.mark.parametrize(("size_mb", "heads"), [(None, HEADS[0]), (6.0, HEADS[1]), (4.0, HEADS[2])])
def test_where_hardly_anything_may_be_lost_the_dearest_share_that_fits_has_all_the_time(run, size_mb, heads):
    found = run(lambda chain: 2.0, lambda chain: 10 * heads_kept(chain) + 0.1, Budget(drop=0.5, size_mb=size_mb))
    assert {heads_kept(one.chain) for one in found.tried if is_thin(one.chain)} == {heads}


def test_a_model_that_is_too_large_as_it_is_is_packed_and_what_is_made_of_it_is_not(run):
    def weighs(chain: Any) -> float:
        return (0.8 if "pack" in methods(chain) else 1.0) * (10 * heads_kept(chain) + 0.1)

    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, weighs, Budget(drop=0.5, size_mb=4.5))
    thin = [one for one in found.tried if is_thin(one.chain)]
    assert {heads_kept(one.chain) for one in thin} == {HEADS[1]}
    assert all("pack" in methods(one.shipped.chain) for one in thin) and found.holds(thin[0])
    assert not any("pack" in methods(one.chain) or "pack" in methods(one.artifact.chain) for one in found.tried)
    assert not any("had no use for" in event.text for event in found.events if isinstance(event, Notice))
    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, weighs, Budget(drop=0.5))
    assert all(one.shipped is one.artifact for one in found.tried)


def test_students_of_fewer_layers_have_their_turn_where_thin_ones_lose_too_much(run):
    found = run(lambda chain: 2.0)
    order = [one.chain for one in found.tried]
    thin = next(i for i, chain in enumerate(order) if is_thin(chain))
    fewer = next(i for i, chain in enumerate(order) if has_fewer_layers(chain))
    assert thin < fewer


def test_a_first_stage_that_loses_too_much_is_tried_again_more_careful(run):
    once = ("prune-structure", "static-int8", "cascade")  # not what is taught on

    def loses(chain: Any) -> float:
        return 0.4 if is_thin(chain) and "cascade" not in methods(chain) else 0.4 + chain[-1].loss if chain else 0.0

    found = run(lambda chain: loses(chain) if is_thin(chain) else 2.0)
    staged = [one for one in found.tried if methods(one.chain) == once]
    assert [one.chain[-1].loss for one in staged] == [0.1]  # what the budget leaves
    (found.shop.directory / "plan.json").unlink()  # another search
    found = run(lambda chain: loses(chain) + 0.03 * ("cascade" in methods(chain)) if is_thin(chain) else 2.0)
    staged = [one for one in found.tried if methods(one.chain) == once]
    assert [one.chain[-1].loss for one in staged] == [0.1, 0.069] and found.holds(staged[-1])
    (found.shop.directory / "plan.json").unlink()
    found = run(lambda chain: (0.6 if is_thin(chain) else 2.0) + ("cascade" in methods(chain)))
    staged = [one for one in found.tried if methods(one.chain) == once]
    assert {one.chain[-1].loss for one in staged} == {0.1}, "ten times as much is not won back"


def test_a_first_stage_may_lose_what_a_floor_leaves_as_well(run):
    def first_loss(budget: Budget) -> float:
        found = run(lambda chain: 0.4 if is_thin(chain) else 9.0, budget=budget)
        return next(one.chain[-1].loss for one in found.tried if is_thin(one.chain) and "cascade" in methods(one.chain))

    assert first_loss(Budget(metric=88.0)) == first_loss(Budget(drop=2.0)) == pytest.approx(0.85 * 1.6)


def test_for_accuracy_the_dearest_that_fits_is_made_thin(run):
    def weighs(chain: Any) -> float:
        shares = [step.keep_heads for step in chain if isinstance(step, PruneStructureConfig)]
        return 10 * shares[0] if shares else 1.0

    found = run(lambda chain: 0.2, weighs, Budget(drop=0.5, size_mb=6), "accuracy")
    thin = next(one.chain for one in found.tried if is_thin(one.chain))
    assert thin[-1].keep_heads == HEADS[1]


def test_four_bits_are_taken_where_eight_are_too_many_bytes(run):
    def weighs(chain: Any) -> float:
        return 4.0 if "int4" in methods(chain) or not is_thin(chain) else 9.0

    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, weighs, Budget(drop=0.5, size_mb=5))
    thin = [methods(one.chain) for one in found.tried if is_thin(one.chain)]
    assert any("int4" in chain for chain in thin) and not any("static-int8" in chain for chain in thin)


def test_nothing_is_tried_twice(run):
    found = run(lambda chain: 2.0, budget=Budget(drop=0.5, size_mb=50))
    assert len({one.chain for one in found.tried}) == len(found.tried)


@pytest.mark.parametrize(
    ("budget", "goal", "staged"),
    [
        (Budget(drop=0.5), "speed", True),
        (Budget(drop=0.5, size_mb=5), "speed", False),
        (Budget(drop=0.5), "accuracy", False),
    ],
)
def test_the_model_as_it_was_stands_behind_a_first_stage_where_it_has_room(run, budget, goal, staged):
    def weighs(chain: Any) -> float:
        return 9.0 if not chain or not (is_thin(chain) or chain[-1].method == "distil") else 1.0

    found = run(lambda chain: 0.0 if methods(chain) in {("vocabulary",), ()} else 2.0, weighs, budget, goal)
    whole = {("vocabulary", "cascade"), ("vocabulary", "static-int8", "cascade")}
    assert bool(whole & {methods(one.chain) for one in found.tried}) is staged


def test_thin_layers_are_left_where_none_fits_or_the_recipe_forbids(run):
    budget = Budget(drop=0.5, size_mb=5)
    found = run(lambda chain: 2.0, lambda chain: 9.0 if is_thin(chain) else 1.0, budget)
    assert not any(is_thin(one.chain) for one in found.tried)
    found = run(lambda chain: 2.0, methods=("vocabulary", "distil", "static-int8"))
    assert not any(is_thin(one.chain) for one in found.tried)


def test_without_time_thin_layers_are_not_begun(run):
    found = run(lambda chain: 2.0, minutes=0.01)
    assert not any(is_thin(one.chain) for one in found.tried)


def test_of_what_misses_by_hardly_more_the_goal_decides(run):
    def loses(chain: Any) -> float:
        return 2.0 if not is_thin(chain) else 0.72 if "cascade" in methods(chain) else 0.70

    found = run(loses, weighs=lambda chain: 4.0 if chain else 50.0, budget=Budget(drop=0.5, size_mb=5))
    assert "cascade" not in methods(found.nearest().chain)  # all are as fast here, and that loses less
    for place, one in enumerate(found.tried):
        if "cascade" in methods(one.chain):
            found.tried[place] = replace(one, cost=replace(one.cost, rows_per_s=5.0))
    assert "cascade" in methods(found.nearest().chain)
    worse = [replace(one, judged=0.9) if "cascade" in methods(one.chain) else one for one in found.tried]
    found.tried = worse
    assert "cascade" not in methods(found.nearest().chain)


def notices(found: Fake) -> list[str]:
    return [event.text for event in found.events if isinstance(event, Notice)]


def test_a_student_that_cannot_be_taught_is_left_out_and_the_search_goes_on(run):
    found = run(lambda chain: 2.0, refuses=lambda chain: methods(chain)[-1] == "distil" and not chain[-1].layers)
    assert any(is_thin(one.chain) for one in found.tried) and any(has_fewer_layers(one.chain) for one in found.tried)
    assert not any(methods(one.chain)[-1:] == ("distil",) and not one.chain[-1].layers for one in found.tried)
    assert any("is left out" in text and "the loss is no number" in text for text in notices(found))
    without = run(lambda chain: 2.0, refuses=lambda chain: has_fewer_layers(chain) and getattr(chain[-1], "epochs", 0))
    assert any(is_thin(one.chain) for one in without.tried)
    assert not any(has_fewer_layers(one.chain) for one in without.tried)


def test_methods_that_were_allowed_and_of_no_use_are_named(run):
    named = ("vocabulary", "prune-structure", "static-int8", "prune-weights")
    found = run(lambda chain: 0.2 if is_thin(chain) else 2.0, methods=named)
    assert any(is_thin(one.chain) for one in found.tried), "it needs no distillation to be allowed"
    assert [text for text in notices(found) if "had no use for" in text] == [
        "this search had no use for prune-weights; a chain may: --chain"
    ]


def test_no_chain_is_listed_twice(run):
    for goal in ("speed", "throughput", "latency", "accuracy", "size"):
        tried = [one.chain for one in run(lambda chain: 2.0, goal=goal).tried]
        assert len(tried) == len(set(tried))


def test_what_no_bag_of_words_can_hold_a_student_that_knows_phrases_may(tmp_path, monkeypatch):
    """A bag of words of very many classes is a large table."""
    monkeypatch.setattr("penjing.compress.physics.encoder_config", lambda artifact: CONFIG)
    found = Fake(
        shop=Shop(tmp_path, SimpleNamespace(now=0.0)),  # type: ignore[arg-type]
        budget=Budget(size_mb=3),
        config=CompressConfig(),
        measurer=None,  # type: ignore[arg-type]
        setups=[Setup()],
        task=TASK,  # type: ignore[arg-type]
        root=Quality(0.9, [], True),
        deadline=MINUTE,
    )
    found.weighs = lambda chain: 1.0 if any(getattr(step, "phrases", 0) for step in chain) else 5.0
    assert "above what the smallest model needs" in [event.text for event in require_possible(found)][-1]
    found.weighs = lambda chain: 5.0
    with pytest.raises(BudgetError, match="a model that knows nothing has size_mb 5"):
        list(require_possible(found))


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(p95_ms=0.1), "has p95_ms 1$"),
        (Budget(ram_mb=0.5, size_mb=9), "has ram_mb 1$"),
        (Budget(rows_per_s=50, p95_ms=0.1), "has p95_ms 1, rows_per_s 1$"),
        (Budget(p95_ms=0.99), None),  # what was measured today may be other tomorrow
        (Budget(drop=1), None),
    ],
)
def test_limits_that_no_model_can_meet_are_named(tmp_path, monkeypatch, budget, said):
    monkeypatch.setattr("penjing.compress.physics.encoder_config", lambda artifact: CONFIG)
    found = Fake(
        shop=Shop(tmp_path, SimpleNamespace(now=0.0)),  # type: ignore[arg-type]
        budget=budget,
        config=CompressConfig(),
        measurer=None,  # type: ignore[arg-type]
        setups=[Setup()],
        task=TASK,  # type: ignore[arg-type]
        root=Quality(0.9, [], True),
        deadline=MINUTE,
    )
    found.weighs = lambda chain: 1.0
    if said is None:
        list(require_possible(found))
        return
    with pytest.raises(BudgetError) as error:
        list(require_possible(found))
    assert re.search(said, str(error.value.what))


def test_many_rows_and_one_row_may_want_different_models(run):
    def best(goal: str) -> Any:
        found = run(lambda chain: 0.1, goal=goal)
        one, other = [place for place, one in enumerate(found.tried) if one.chain][:2]
        many = replace(found.tried[one].cost, rows_per_s=1e6, p95_ms=9.0)
        single = replace(found.tried[other].cost, rows_per_s=9.0, p95_ms=1e-3)
        found.tried[one] = replace(found.tried[one], cost=many)
        found.tried[other] = replace(found.tried[other], cost=single)
        return found.best().cost, many, single

    chosen, many, _ = best("throughput")
    assert chosen == many
    chosen, _, single = best("latency")
    assert chosen == single


@pytest.mark.parametrize("goal", ["speed", "accuracy", "size"])
@pytest.mark.parametrize("lost", [0.2, 2.0])
def test_a_search_that_goes_on_after_its_time_was_up_ends_where_it_had_been(run, goal, lost):
    """Killed while the chosen model is certified, say: everything is there, and nothing of it may be passed over."""
    first = run(lambda chain: lost, goal=goal, minutes=60.0)
    again = run(lambda chain: lost, goal=goal, minutes=-1.0)
    assert len(first.tried) > 3
    assert [one.chain for one in again.tried] == [one.chain for one in first.tried]


@pytest.mark.parametrize("change", [-0.03, 0.03])
def test_a_search_goes_on_with_the_same_chains_where_predictions_made_anew_differ_a_little(run, change):
    def loses(chain: Any) -> float:
        rounding = 0.19 if any(step.method == "static-int8" for step in chain) else 0.0
        words = 0.25 if methods(chain) == ("vocabulary",) else 0.1
        staged = 0.4 if "cascade" in methods(chain) else 0.0
        return (words + rounding + staged if is_thin(chain) or len(chain) == 1 else 2.0) if chain else 0.0

    first = run(loses)
    again = run(lambda chain: loses(chain) + (change if chain else 0.0), minutes=-1.0)
    assert any("cascade" in methods(one.chain) for one in first.tried)
    assert [one.chain for one in again.tried] == [one.chain for one in first.tried]


def test_a_search_that_ran_out_of_time_goes_on_without(run):
    short = run(lambda chain: 2.0, minutes=3.0)
    assert len(short.tried) < len(run(lambda chain: 2.0, budget=Budget(drop=0.4), minutes=1_000.0).tried)
    again = run(lambda chain: 2.0, minutes=-1.0)
    assert [one.chain for one in again.tried] == [one.chain for one in short.tried]


def test_a_shape_that_cannot_be_measured_is_left_out_and_the_search_goes_on(run):
    def refuses(chain):
        steps = [step for step in chain if step.method in ("distil", "prune-structure")]
        untaught = bool(steps) and steps[-1].epochs == 0
        return untaught and (is_thin(chain) or (chain[-1].method == "static-int8" and steps[-1].heads == 2))

    found = run(lambda chain: 2.0, refuses=refuses)
    assert any("static-int8 is left out" in text and "the loss is no number" in text for text in notices(found))
    assert any(has_fewer_layers(one.chain) for one in found.tried)
    assert not any(is_thin(one.chain) for one in found.tried)
