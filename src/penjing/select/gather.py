"""Gathers the evidence behind a quote, within a deadline: a probe's learning curve, a short run, a measured export."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.core import registry
from penjing.core.budget import Budget
from penjing.core.events import Event, Listener, Notice, Progress
from penjing.core.memory import release_freed
from penjing.core.runtime import Runtime
from penjing.core.task import Metric, Prediction, Row, Table, Task
from penjing.data.prepare import Prepared
from penjing.models.pretrained import Pretrained
from penjing.models.scratch import NAME as SCRATCH
from penjing.predict.task_file import MODEL_FILE, write_task
from penjing.select.config import SelectConfig
from penjing.select.expectation import Basis, Evidence
from penjing.select.features import encode_sample, has_features, make_task
from penjing.select.pretraining import pretraining_minutes
from penjing.select.probe import Judged, Predictor, error_of, judge, probe_predictor
from penjing.select.sample import Pool, draw_pool
from penjing.select.serving import Serving, measure_directory, measure_export, time_library
from penjing.select.short_run import ShortRun, judge_short_run, short_run, training_speed
from penjing.select.stand_in import stand_in_predictor
from penjing.select.stopwatch import Stopwatch
from penjing.train.direct.config import LINEAR, TREE_SHARE, TREES

if TYPE_CHECKING:
    from penjing.train.config import TrainConfig
    from penjing.train.direct.config import DirectConfig

MORE_LABELS = 50
# Shares of what is left of the deadline when each step begins, in this order.
ENCODE_SHARE, PROBE_SHARE, SERVE_SHARE, RUN_SHARE = 0.25, 0.25, 0.55, 0.8
MAX_RUN_SECONDS = 15.0
DIRECT_SHARES, DIRECT_SHARE = (0.25, 0.5, 1.0), 0.7


@dataclass(frozen=True)
class Findings:
    """What was measured for a quote.

    Args:
        primary: name of the primary metric.
        metric: its direction and scale.
        evidence: of the metric.
        serving: what a prediction costs.
        train_minutes: expected training time, continued pretraining included.
        sampled: labelled rows looked at.
    """

    primary: str
    metric: Metric
    evidence: Evidence
    serving: Serving
    train_minutes: float
    sampled: int


def gather_gradient(
    prepared: Prepared,
    pretrained: Pretrained | None,
    budget: Budget,
    train: TrainConfig,
    config: SelectConfig,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
    *,
    rehearse: bool = True,
) -> Findings:
    """Evidence for a model that is fine-tuned from a pretrained one; see `quote`."""
    from penjing.train.random_weights import resolve_for

    assert pretrained is not None
    splits, runtime = prepared.splits, Runtime.detect()
    pool = draw_pool(splits, max_rows=config.sample_rows, num_folds=config.folds, seed=seed)
    task = make_task(splits, prepared.task_kind, pretrained, train.max_length)
    probed = _probe(task, pool, pretrained, train, config, runtime, seed, watch, listener)
    rate = None if probed is None else probed.rows_per_s
    release_freed()
    listener(Notice("quote", "exporting the untrained model to measure what it will cost"))
    serving = measure_export(
        task,
        pool.table.rows,
        pretrained,
        train,
        num_rows=len(splits.train),
        threads=runtime.threads,
        concurrency=budget.concurrency,
        rows_per_s=rate,
        watch=watch.part(SERVE_SHARE),
        listener=listener,
    )
    run_watch = Stopwatch(min(MAX_RUN_SECONDS, RUN_SHARE * watch.left))
    sizes = len(splits.train), len(splits.sealed_test)
    settings = (task, pool if probed is None else probed.pool, pretrained, train, runtime)
    if probed is None:
        judged, samples_per_s = judge_short_run(
            *settings, seed=seed, level=config.level, watch=run_watch, listener=listener
        )
        evidence = make_evidence(task, judged, "run", *sizes)
    else:
        evidence, samples_per_s = make_evidence(task, probed.judged, probed.basis, *sizes), rate or serving.rows_per_s
        if probed.basis == "probe" and rehearse:
            run = short_run(*settings, seed=seed, watch=run_watch, listener=listener)
            samples_per_s = run.samples_per_s
            if run.stats is not None:
                evidence = _with_run(evidence, task, probed, run)
        elif probed.basis != "final":
            samples_per_s = training_speed(*settings, seed=seed, watch=run_watch)
    full = resolve_for(train, task, pretrained, num_rows=sizes[0])
    epochs = 1.0 if train.method == "probe" else (full.epochs or 0.0)
    minutes = sizes[0] * epochs / samples_per_s / 60
    minutes += pretraining_minutes(prepared, pretrained, train.pretrain, rate or serving.rows_per_s)
    sampled = len(settings[1].table)
    return Findings(task.primary, task.metrics[task.primary], evidence, serving, minutes, sampled)


@dataclass(frozen=True)
class _Probed:
    """A cheap model judged in place of the one to be trained.

    Args:
        judged: its scores.
        predictor: what was judged.
        basis: what it is to the model to be trained.
        pool: the rows it was judged on.
        rows_per_s: rows encoded a second, where rows were encoded.
    """

    judged: Judged
    predictor: Predictor
    basis: Basis
    pool: Pool
    rows_per_s: float | None


def _probe(
    task: Task,
    pool: Pool,
    pretrained: Pretrained,
    train: TrainConfig,
    config: SelectConfig,
    runtime: Runtime,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
) -> _Probed | None:
    """A linear probe, or the stand-in of a model from scratch; None for tasks without one vector a row."""
    if not has_features(task):
        return None
    basis: Basis = "final" if train.method == "probe" else "probe"
    rate = None
    if pretrained.name == SCRATCH:
        predictor, basis = stand_in_predictor(task, pool), "stand-in"
    else:
        features = encode_sample(
            task,
            pool.table,
            pretrained,
            train,
            device=runtime.device,
            seed=seed,
            watch=watch.part(ENCODE_SHARE),
            listener=listener,
        )
        pool, rate, predictor = pool.take(len(features)), features.rows_per_s, probe_predictor(task, features)
    judged = judge(task, pool, predictor, watch=watch.part(PROBE_SHARE), level=config.level, seed=seed)
    return _Probed(judged, predictor, basis, pool, rate)


def make_evidence(task: Task, judged: Judged, basis: Basis, num_train: int, num_test: int) -> Evidence:
    """What a judgement says of the error at the size of the training rows, on test rows of this number."""
    curve = judged.curve.known
    if curve is None:  # an AUC of rows of one class, say
        return Evidence(basis=basis, log_error=None, standard_error=0.0, test_error=0.0)
    log_error, spread = curve.log_error(num_train)
    error = curve.errors[-1]
    deviation = judged.standard_error / error if math.isfinite(judged.standard_error) else 0.0
    # Where folds were too few for replicates, the sample of judged rows is all the spread that is known.
    spread = max(spread, deviation)
    noise = deviation * math.sqrt(len(judged.positions) / num_test) if num_test else 0.0
    gain = curve.log_gain(num_train, MORE_LABELS) if len(curve.sizes) > 1 else None
    return Evidence(basis=basis, log_error=log_error, standard_error=spread, test_error=noise, label_gain=gain)


def _with_run(evidence: Evidence, task: Task, probed: _Probed, run: ShortRun) -> Evidence:
    """Compare the short run with a probe that learns from the same rows and is judged on the same rows.

    The evidence stays as it is where the metric is undefined on those few.
    """
    assert run.stats is not None
    rows: list[Row] = [probed.pool.table.rows[i] for i in run.judged]
    stats = task.score(rows, probed.predictor(run.learn, run.judged))
    floor = 0.5 / len(rows)
    errors = [max(error_of(task, task.aggregate(found)[task.primary]), floor) for found in (run.stats, stats)]
    if evidence.log_error is None or not all(map(math.isfinite, errors)):
        return evidence
    return evidence.model_copy(update={"run_ratio": math.log(errors[0] / errors[1]), "run_share": run.share})


def gather_direct(
    prepared: Prepared,
    pretrained: Pretrained | None,
    budget: Budget,
    train: TrainConfig,
    config: SelectConfig,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
) -> Findings:
    """Evidence for a model that is learned in one call: it is fitted for real, with fewer settings tried."""
    assert pretrained is None
    splits = prepared.splits
    pool = draw_pool(splits, max_rows=config.sample_rows, num_folds=config.folds, seed=seed)
    task = make_task(splits, prepared.task_kind, None, None)
    trainer = registry.load(task.trainer)()
    search = train.direct.within(budget.train_minutes)
    model, minutes = _timed_fit(trainer, task, pool.table, search, seed, watch, listener, len(splits.train))
    with TemporaryDirectory(prefix="penjing-") as name:
        model.export_onnx(Path(name) / MODEL_FILE)
        write_task(task, Path(name))
        sample, path = pool.table.rows, Path(name) / MODEL_FILE
        serving = measure_directory(
            task, Path(name), sample, concurrency=budget.concurrency, watch=watch.part(SERVE_SHARE), listener=listener
        ) or time_library(task, model.run, sample, path, watch.part(SERVE_SHARE))
    num_fits = len(DIRECT_SHARES) * pool.num_folds
    seconds = min(search.seconds, DIRECT_SHARE * watch.left / num_fits)
    quick = train.direct.model_copy(update={"trials": 1, "num_seeds": 1, "folds": 3, "seconds": seconds})

    def predict(learn: np.ndarray, judged: np.ndarray) -> list[Prediction]:
        rows, other = pool.table.take(learn), pool.table.take(judged)
        fitted = trainer.fit(task, rows, rows.take([]), quick, seed=seed, listener=lambda event: None)
        return task.predict(fitted.run, task.encode(other.rows))

    part = watch.part(DIRECT_SHARE)
    found = judge(task, pool, predict, watch=part, level=config.level, seed=seed, shares=DIRECT_SHARES)
    evidence = make_evidence(task, found, "direct", len(splits.train), len(splits.sealed_test))
    return Findings(task.primary, task.metrics[task.primary], evidence, serving, minutes, len(pool.table))


def _timed_fit(
    trainer: Any,
    task: Task,
    table: Table,
    config: DirectConfig,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
    num_rows: int,
) -> tuple[Any, float]:
    """A fit with two settings of the trees tried, and the minutes of the whole search over all rows that follow."""
    ends: dict[str, list[float]] = {TREES: [], LINEAR: []}  # when each setting was done
    totals: dict[str, float] = {}

    def timed(event: Event) -> None:
        if isinstance(event, Progress) and event.unit in ends:
            ends[event.unit].append(time.monotonic())
            totals[event.unit] = event.total or 0.0
            listener(replace(event, stage="quote"))

    few = config.model_copy(update={"trials": min(2, config.trials), "seconds": min(config.seconds, 0.3 * watch.left)})
    begun = time.monotonic()
    model = trainer.fit(task, table, table.take([]), few, seed=seed, listener=timed)
    ended = time.monotonic()
    totals[TREES] = config.trials
    scale, seconds = num_rows / len(table), 0.0
    for unit, share in ((TREES, TREE_SHARE), (LINEAR, 1.0)):
        if not ends[unit]:  # a trainer that searches nothing of the kind
            continue
        one = scale * (ends[unit][-1] - begun) / len(ends[unit])
        seconds += min(totals[unit] * one, max(0.0, share * config.seconds - seconds) + one)
        begun = ends[unit][-1]
    return model, (seconds + scale * (ended - begun)) / 60
