"""The time and the memory a run may take, and batches of even cost."""

import itertools
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from unit_training import make_model, train_tiny

from penjing.core.artifact import file_sha256
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Notice
from penjing.train import fit
from penjing.train.batching import plan_epoch
from penjing.train.checkpoint import WARMING_STEPS, read_position
from penjing.train.config import TrainConfig
from penjing.train.fit import WEIGHTS
from penjing.train.gradient.sequence import SequenceTrainer
from penjing.train.memory import free_bytes, least_bytes, peak_rss_mb, require_memory
from penjing.train.time_limit import TimeLimit

pytest_plugins = ["training_fixtures"]

LONG = TrainConfig(epochs=1000, batch_rows=8, learning_rate=1e-4, precision="fp32", checkpoint_seconds=1000)


def shortened(events: list) -> list[str]:
    return [e.text for e in events if isinstance(e, Notice) and "of training allow" in e.text]


class Killed(Exception):
    pass


class KillingEvents(list):
    """Events of a training that dies at its tenth step."""

    def append(self, event) -> None:
        super().append(event)
        if getattr(event, "stage", "") == "train" and getattr(event, "done", 0) == 10:
            raise Killed


class Clock:
    """Stands for `time` in the train stage: a step takes as long as the test says, whatever else the machine does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step_seconds = 0.2

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock, genuine = Clock(), SequenceTrainer.loss

    def timed(self, model, batch):
        clock.now += clock.step_seconds
        return genuine(self, model, batch)

    monkeypatch.setattr(SequenceTrainer, "loss", timed)
    for module in ("loop", "attempt", "fit"):
        monkeypatch.setattr(f"penjing.train.{module}.time", clock)
    return clock


def test_training_ends_within_its_minutes(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    events: list = []
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, LONG, tmp_path, max_minutes=0.5, events=events)
    assert shortened(events) == ["the budget's 0.5 minutes of training allow 150 of the 3000 steps planned"]
    end = read_position(tmp_path)
    assert end.step == end.total == 150
    assert result.minutes == pytest.approx(0.5)
    rates = [e.values["learning_rate"] for e in events if "learning_rate" in getattr(e, "values", {})]
    assert rates[-1] < 0.02 * max(rates)  # the schedule ends with the steps that are left


def test_slow_first_steps_do_not_shorten_the_plan(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    class WarmingUp(list):
        def append(self, event):
            super().append(event)
            if event.stage == "train" and getattr(event, "done", 0) == WARMING_STEPS:
                clock.step_seconds = 0.2

    clock.step_seconds, events = 2.0, WarmingUp()
    config = LONG.model_copy(update={"epochs": 40})  # 120 steps: 3 of 2 s and 117 of 0.2 s are 29.4 s
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path, max_minutes=0.5, events=events)
    assert read_position(tmp_path).step == 120 and not shortened(events)


def test_a_machine_that_slows_down_is_noticed(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    class Slower(list):
        def append(self, event):
            super().append(event)
            if getattr(event, "done", 0) == 20:
                clock.step_seconds = 0.4

    events = Slower()
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, LONG, tmp_path, max_minutes=0.5, events=events)
    assert len(shortened(events)) > 1
    assert 0.45 < result.minutes < 0.5 * 1.06


def test_steps_come_back_where_the_first_ones_were_slow(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """Until step 20 a step takes four times as long; the plan made at step 8 would leave most of the time unused."""

    class SlowUntil(list):
        def append(self, event):
            super().append(event)
            if getattr(event, "done", 0) == 20:
                clock.step_seconds = 0.1

    def run(name, config, minutes):
        clock.step_seconds, events = 0.4, SlowUntil()
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / name, max_minutes=minutes, events=events)
        grown = [e.text for e in events if isinstance(e, Notice) and "steps are faster" in e.text]
        return read_position(tmp_path / name), len(shortened(events)), len(grown)

    end, _, grown = run("long", LONG, 0.5)
    assert end.step > 1.6 * 0.5 * 60 / 0.4 and grown  # 75 steps by the first estimate, 240 by a clairvoyant's
    assert end.seconds < 0.5 * 60 * 1.05
    short = LONG.model_copy(update={"epochs": 30})  # 90 steps take 15 s
    end, cut, grown = run("short", short, 0.5)
    assert (end.step, cut > 0, grown > 0) == (90, True, True)  # never more than were asked for


def test_enough_minutes_change_nothing(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    config, events = LONG.model_copy(update={"epochs": 5}), []
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / "limited", max_minutes=60, events=events)
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / "free")
    assert not shortened(events)
    assert any("min of training ahead" in getattr(event, "text", "") for event in events)
    assert len({file_sha256(tmp_path / name / WEIGHTS) for name in ("limited", "free")}) == 1


def test_the_decision_outlives_a_kill(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """A machine that is slow at first plans few steps; run again on a fast one, the plan stays."""

    first = KillingEvents()
    with pytest.raises(Killed):
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, LONG, tmp_path, max_minutes=0.1, events=first)
    planned = read_position(tmp_path)
    assert shortened(first) and planned.step == 8 and planned.total == 30  # saved with the step it was decided at
    clock.step_seconds = 0.001
    train_tiny(tiny_task, tiny_splits, tiny_pretrained, LONG, tmp_path, max_minutes=60)
    assert read_position(tmp_path).step == 30


def test_a_resumed_run_decides_as_it_did_before(clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """Killed before its first checkpoint and run again by a machine that is slow at first, it keeps all its steps."""

    class SlowAtFirst(list):
        def append(self, event):
            super().append(event)
            if getattr(event, "done", 0) == 8:
                clock.step_seconds = 0.2

    def run(name, events, **more):
        config = LONG.model_copy(update={"epochs": 10})
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path / name, events=events, **more)
        return read_position(tmp_path / name).step, shortened(events)

    with pytest.raises(Killed):
        run("killed", KillingEvents(), max_minutes=0.1)
    assert read_position(tmp_path / "killed") is None
    clock.step_seconds = 0.215  # 30 of these steps are too many for 6 s
    assert run("killed", SlowAtFirst(), max_minutes=0.1) == (30, [])
    clock.step_seconds = 0.215
    steps, notices = run("fresh", SlowAtFirst(), max_minutes=0.1)
    assert steps < 30 and notices


def test_pretraining_and_each_beginning_count(monkeypatch, clock, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    """Pretraining took 12 s; computing what frozen layers give takes 3 s, in a resumed attempt as in the first."""
    genuine = fit._lower_states

    def slow(*arguments, **more):
        clock.now += 3.0
        return genuine(*arguments, **more)

    monkeypatch.setattr(fit, "_lower_states", slow)
    config = LONG.model_copy(update={"checkpoint_seconds": 0})
    where, more = (
        (tiny_task, tiny_splits, tiny_pretrained, config, tmp_path),
        {"spent_seconds": 12.0, "max_minutes": 0.5},
    )
    with pytest.raises(Killed):
        train_tiny(*where, events=KillingEvents(), **more)
    result = train_tiny(*where, **more)
    end = read_position(tmp_path)
    assert end.other_seconds == pytest.approx(12 + 3 + 3)
    assert end.step <= 75 and result.minutes <= 0.5 * 1.11


def test_plans_of_other_runs_do_not_count(tmp_path):
    made = TimeLimit(0.5, decided={8: 30})
    made.record(tmp_path, "one")
    for limit, identity, expected in (
        (TimeLimit(0.5), "one", {8: 30}),
        (TimeLimit(0.5), "other", {}),
        (TimeLimit(0.6), "one", {}),
        (TimeLimit(None), "one", {}),
    ):
        limit.recall(tmp_path, identity)
        assert limit.decided == expected
    (tmp_path / "plan.json").write_text("[]")
    with pytest.raises(ArtifactError, match="the plan is damaged"):
        TimeLimit(0.5).recall(tmp_path, "one")


def test_the_least_memory_is_counted(tiny_task, tiny_pretrained):
    _, model = make_model(tiny_task, tiny_pretrained, TrainConfig())
    count = sum(p.numel() for p in model.parameters())
    assert least_bytes(model, torch.float32, optimizer="adamw", averaged=True) == count * 4 * 6
    assert least_bytes(model, torch.bfloat16, optimizer="sgd", averaged=False) == count * (2 + 4 * 4)
    model.encoder.requires_grad_(False)
    head = 3 * 64 + 3
    assert least_bytes(model, torch.float32, optimizer="lion", averaged=False) == count * 4 + head * 12


def test_what_clearly_does_not_fit_is_refused():
    require_memory(10**9, free=2 * 10**9)
    with pytest.raises(CapabilityError, match=r"at least 3\.0 GB of memory, and 2\.0 GB are free"):
        require_memory(3 * 10**9, free=2 * 10**9)
    assert 0 < free_bytes() <= psutil.virtual_memory().total


def test_fit_asks_before_it_trains(monkeypatch, tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    monkeypatch.setattr("penjing.train.memory.free_bytes", lambda: 1_000_000)
    with pytest.raises(CapabilityError, match="of memory"):
        train_tiny(tiny_task, tiny_splits, tiny_pretrained, LONG, tmp_path)
    assert not list(tmp_path.iterdir())


def test_peak_memory_is_reported(tiny_task, tiny_splits, tiny_pretrained, tmp_path):
    config = LONG.model_copy(update={"method": "probe"})
    result = train_tiny(tiny_task, tiny_splits, tiny_pretrained, config, tmp_path)
    resident = psutil.Process().memory_info().rss / 1e6
    assert 0.5 * resident < result.peak_mb <= peak_rss_mb()
    assert peak_rss_mb() > 50


def test_an_undefined_metric_never_beats_a_number(task_rows, text_settings, tiny_pretrained, tiny_splits, tmp_path):
    """Spearman and R² of a constant are undefined; the weights after it must still be kept."""
    from unit_training import split

    from penjing.tasks.text_regression import TextRegression

    rows, roles = task_rows("text-regression")
    task = TextRegression.from_rows(rows, roles, text_settings)
    splits = split(rows, roles)
    alike = replace(splits, valid=splits.valid.take([i for i, r in enumerate(splits.valid.rows)][:1]))
    config = LONG.model_copy(update={"epochs": 2, "early_stopping": 1})
    train_tiny(task, alike, tiny_pretrained, config, tmp_path)
    end = read_position(tmp_path)
    assert [np.isnan(entry[f"valid_{task.primary}"]) for entry in end.history] == [True] * len(end.history)
    assert end.best is None and end.stale == 0 and end.step == end.total


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=80),
    batch_rows=st.integers(1, 16),
    batch_tokens=st.integers(16, 400),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_row_is_in_one_batch_within_both_bounds(lengths, batch_rows, batch_tokens, seed):
    lengths = np.array(lengths)
    plan = plan_epoch(lengths, batch_rows=batch_rows, batch_tokens=batch_tokens, seed=seed, epoch=0)
    assert sorted(itertools.chain(*plan)) == list(range(len(lengths)))
    for batch in plan:
        assert len(batch) <= batch_rows
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= batch_tokens


def test_plans_depend_on_seed_and_epoch_alone():
    lengths = np.arange(200) % 37 + 3

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return [b.tolist() for b in plan_epoch(lengths, batch_rows=8, batch_tokens=256, seed=seed, epoch=epoch)]

    assert plan(1, 0) == plan(1, 0)
    assert plan(1, 0) != plan(1, 1) and plan(1, 0) != plan(2, 0)
    waste = sum(len(b) * max(lengths[i] for i in b) - sum(lengths[i] for i in b) for b in plan(1, 0))
    assert waste < 0.05 * lengths.sum()
