"""A few seconds of the real fine-tuning, on a part of the rows: how fast it goes, and how far it already gets."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penjing.core.events import Event, Listener, Progress
from penjing.core.memory import release_freed
from penjing.core.task import Splits, Stats, Task
from penjing.models.pretrained import Pretrained
from penjing.select.candidate import TooSlowToTryError
from penjing.select.probe import Judged, summarise
from penjing.select.sample import Pool
from penjing.select.stopwatch import Stopwatch

if TYPE_CHECKING:
    from penjing.core.runtime import Runtime
    from penjing.train.config import TrainConfig
    from penjing.train.fit import FitResult

MAX_JUDGED, MIN_JUDGED = 256, 8
WARM_STEPS = 2
TIMED_STEPS = 6
# Shares of the time for encoding rows (the probe that starts the head), for judging, and for optimizer steps; the rest
# is for fitting the probe and for writing.
ENCODE_SHARE, JUDGE_SHARE, STEPS_SHARE = 0.2, 0.15, 0.45
NEVER = 1e9  # seconds between checkpoints


@dataclass(frozen=True)
class ShortRun:
    """What a short run showed.

    Args:
        samples_per_s: training rows a second.
        learn: positions in the pool it learned from.
        judged: positions it was judged on.
        stats: statistics of its predictions of those, or None where there was no time for a whole run.
        share: of the optimizer steps the full training of the same rows would take.
        too_few: whether there are too few rows for any run, however long.
    """

    samples_per_s: float
    learn: np.ndarray
    judged: np.ndarray
    stats: Stats | None
    share: float
    too_few: bool = False


def short_run(
    task: Task,
    pool: Pool,
    pretrained: Pretrained,
    config: TrainConfig,
    runtime: Runtime,
    *,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
) -> ShortRun:
    """Time some optimizer steps, then train for about the time left and judge the result.

    The schedule is compressed, so that the short run ends with a learning rate of 0 like any other. It is cut off when
    the time is up; then only its speed is known.

    Args:
        task: see `features.make_task`.
        pool: rows; the first fold is judged.
        pretrained: the model to start from.
        config: settings of the full run.
        runtime: this process.
        seed: of the run.
        watch: the time allowed.
        listener: told of progress.
    """
    from penjing.train.random_weights import resolve_for
    from penjing.train.validation import predict_model

    learn, judged = pool.parts(0) if pool.crossed else (pool.parts(0)[0], np.flatnonzero(pool.fold >= 0))
    full = resolve_for(config, task, pretrained, num_rows=len(learn))
    assert full.epochs is not None
    too_few = len(judged) < MIN_JUDGED or full.epochs * len(learn) < 2 * config.batch_rows
    rate = training_speed(task, pool, pretrained, config, runtime, seed=seed, watch=watch)
    # Before its first step a run encodes every row, and it judges at its start, each epoch and its end; both pass a row
    # forward, which takes a third of the time of a training step.
    forward = rate * 3
    learn = learn[: int(forward * watch.left * ENCODE_SHARE)]
    judged = judged[: int(min(MAX_JUDGED, forward * watch.left * JUDGE_SHARE / 4))]
    nothing = ShortRun(rate, learn, judged, None, 0.0, too_few)
    if len(judged) < MIN_JUDGED or not len(learn):
        return nothing
    epochs = min(full.epochs, rate * watch.left * STEPS_SHARE / len(learn))
    if epochs * len(learn) < 2 * config.batch_rows:
        return nothing
    settings = full.model_copy(update={"epochs": epochs, **_QUIET})
    splits = Splits(pool.table.take(learn), pool.table.take(judged), pool.table.take([]), task.roles, "short run")
    result = _finish(task, splits, pretrained, settings, runtime, seed, watch, listener)
    if result is None:
        return nothing
    predictions = predict_model(result.model, task, splits.valid, runtime.device)
    stats = task.score(splits.valid.rows, predictions)
    return ShortRun(result.samples_per_s or rate, learn, judged, stats, epochs / full.epochs)


def judge_short_run(
    task: Task,
    pool: Pool,
    pretrained: Pretrained,
    config: TrainConfig,
    runtime: Runtime,
    *,
    seed: int,
    level: float,
    watch: Stopwatch,
    listener: Listener,
) -> tuple[Judged, float]:
    """A short run as a judgement, for tasks on whose frozen features no probe can be fitted, and its samples/s.

    Raises:
        TooSlowToTryError: the time does not suffice for any run.
    """
    run = short_run(task, pool, pretrained, config, runtime, seed=seed, watch=watch, listener=listener)
    if run.too_few:
        raise TooSlowToTryError(
            f"the rows are too few to try {pretrained.name} on ({len(pool.table):,})",
            expected=f"{MIN_JUDGED} held out, and two batches of {config.batch_rows} in all passes",
            next_step="label more rows, or train without: penjing run, with --model to choose one",
        )
    if run.stats is None:
        raise TooSlowToTryError(
            f"{pretrained.name} trains {run.samples_per_s:.1f} rows/s, too slow to be tried in {watch.seconds:.0f} s",
            next_step="allow more time (select.model_seconds, select.quote_seconds) or shorten rows (train.max_length)",
        )
    groups = pool.groups(run.judged)
    judged = summarise(task, [run.stats], [[run.stats]], run.judged, [len(run.learn)], level, seed, groups)
    return judged, run.samples_per_s


# Without n-grams: their share would be chosen on the rows that the short run is judged by.
_QUIET = {"early_stopping": None, "evaluations": 1, "checkpoint_seconds": NEVER, "ngrams": False}


def training_speed(
    task: Task,
    pool: Pool,
    pretrained: Pretrained,
    config: TrainConfig,
    runtime: Runtime,
    *,
    seed: int,
    watch: Stopwatch,
) -> float:
    """Training rows a second, from steps that follow the first, which warm up the memory; arguments as `short_run`."""
    learn = pool.parts(0)[0]
    rows = learn[: (WARM_STEPS + TIMED_STEPS) * config.batch_rows * config.accumulation]
    splits = Splits(pool.table.take(rows), pool.table.take(rows[:2]), pool.table.take([]), task.roles, "timing")
    settings = config.model_copy(update={"epochs": float(WARM_STEPS + TIMED_STEPS), "head_start": "random", **_QUIET})
    rates: dict[int, float] = {}  # optimizer steps done → rows a second over all of them
    with (
        tempfile.TemporaryDirectory(prefix="penjing-") as out,
        closing(_events(task, splits, pretrained, settings, Path(out), runtime, seed)) as events,
    ):
        for event in events:
            if isinstance(event, Progress) and event.stage == "train" and event.done:
                rates[int(event.done)] = event.values["samples_per_s"]
            if len(rates) >= WARM_STEPS + TIMED_STEPS or (rates and watch.left <= 0):
                break
    release_freed()
    first, last = min(WARM_STEPS, len(rates)), len(rates)
    if first == last:
        return rates[last]
    # Steps have about equal numbers of rows, so the seconds of the first k steps are k / rate, up to a factor.
    return (last - first) / (last / rates[last] - first / rates[first])


def _finish(
    task: Task,
    splits: Splits,
    pretrained: Pretrained,
    config: TrainConfig,
    runtime: Runtime,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
) -> FitResult | None:
    with tempfile.TemporaryDirectory(prefix="penjing-") as out:
        work = _events(task, splits, pretrained, config, Path(out), runtime, seed)
        while True:
            try:
                event = next(work)
            except StopIteration as stop:
                result: FitResult = stop.value
                return result
            if isinstance(event, Progress):
                listener(Progress("quote", event.done, event.total, event.unit, "a short training run", event.values))
            if watch.left <= 0:
                work.close()
                return None


def _events(
    task: Task, splits: Splits, pretrained: Pretrained, config: TrainConfig, out: Path, runtime: Runtime, seed: int
) -> Generator[Event, None, FitResult]:
    from penjing.train.fit import fit

    return fit(task, splits, pretrained, config, out, runtime, seed=seed)
