"""Measure every candidate of a selection on the same rows."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.core.budget import Budget
from penjing.core.errors import ArtifactError, CapabilityError, FetchError, PenjingError
from penjing.core.events import Listener, Notice
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.models.catalog import list_models, resolve
from penjing.models.pretrained import Pretrained
from penjing.models.scratch import ABOUT, make_scratch
from penjing.models.scratch import NAME as SCRATCH
from penjing.select.calibration import shipped
from penjing.select.candidate import Candidate, speaks
from penjing.select.config import SelectConfig
from penjing.select.features import Features, encode_sample, has_features, make_task, to_numpy
from penjing.select.logme import logme
from penjing.select.probe import Judged, error_of, judge, probe_predictor, score_of
from penjing.select.sample import Pool, draw_pool
from penjing.select.serving import measure_export
from penjing.select.stand_in import stand_in_predictor
from penjing.select.stopwatch import Stopwatch

if TYPE_CHECKING:
    from penjing.train.config import TrainConfig

# A training step costs about three forward passes (one forward, two backward).
PASSES_A_STEP = 3.0
ENCODE_SHARE, PROBE_SHARE, RUN_SHARE = 0.4, 0.4, 0.6
LEVEL = 0.95
# What tells against one model, not against the data or the installation.
UNFIT = (FetchError, ArtifactError, CapabilityError)


@dataclass(frozen=True)
class Question:
    """What is asked of every candidate; see `rank.select`."""

    splits: Splits
    kind: str
    budget: Budget
    config: SelectConfig
    train: TrainConfig
    language: str
    seed: int


@dataclass(frozen=True)
class Examined:
    """A candidate with what its ranking needs.

    Args:
        candidate: the row of the table.
        judged: scores on held-out rows; None where it was not measured.
        task: the task with this candidate's tokenizer; None likewise.
        error: why a model that is at hand was not measured, where that was tried.
    """

    candidate: Candidate
    judged: Judged | None = field(default=None, repr=False)
    task: Task | None = field(default=None, repr=False)
    error: PenjingError | None = field(default=None, repr=False)


def examine(question: Question, listener: Listener) -> list[Examined]:
    """Every candidate, in the order given; nothing is measured where no pretrained model is left to compare."""
    config = question.config
    with tempfile.TemporaryDirectory(prefix="penjing-") as directory:
        names = config.candidates or (*(row.name for row in list_models()), SCRATCH)
        obtained = [(name, _obtain(name, question, Path(directory) / SCRATCH, listener)) for name in names]
        measurable = [(name, found) for name, found in obtained if isinstance(found, Pretrained)]
        hopeless = all(name == SCRATCH for name, _ in measurable) and config.candidates is None
        if not measurable or hopeless:
            return [Examined(found) for _, found in obtained if isinstance(found, Candidate)]
        pool = draw_pool(question.splits, max_rows=config.sample_rows, num_folds=config.folds, seed=question.seed)
        runtime = Runtime.detect()
        begun = [
            Examined(found) if isinstance(found, Candidate) else _begin(name, found, question, pool, runtime, listener)
            for name, found in obtained
        ]
        # Of a model that is slow, or measured while other work came between, fewer rows are encoded. What learns from
        # fewer does worse, so all learn from those that every one has.
        encoded = [len(one.features) for one in begun if isinstance(one, _Begun) and one.features is not None]
        pool = pool.take(min(encoded, default=len(pool.table)))
        return [one if isinstance(one, Examined) else _measure(one, question, pool, runtime, listener) for one in begun]


@dataclass(frozen=True)
class _Begun:
    """A candidate whose rows are encoded.

    Args:
        name: of the model.
        pretrained: the model.
        task: with its tokenizer.
        features: embeddings of the first rows of the pool; None where it is judged by something else.
        seconds: left to it.
    """

    name: str
    pretrained: Pretrained
    task: Task
    features: Features | None
    seconds: float


def _obtain(name: str, question: Question, directory: Path, listener: Listener) -> Pretrained | Candidate:
    """The model on disk, or a row of the table that says why it is not compared."""
    row = next((row for row in list_models() if row.name == name), None)
    if row is not None and question.config.candidates is None and not speaks(row.languages, question.language):
        reason = f"knows {', '.join(row.languages)}, the texts are {question.language}"
        return Candidate(name, "wrong language", (reason,), row.languages, row.licence, parameters=row.parameters)
    try:
        if name == SCRATCH:
            return make_scratch(question.splits, directory, seed=question.seed)
        return resolve(name, listener=listener, offline=question.config.offline)
    except UNFIT as error:
        return _unavailable(name, error, listener)


def _begin(
    name: str, pretrained: Pretrained, question: Question, pool: Pool, runtime: Runtime, listener: Listener
) -> _Begun | Examined:
    """Encode what time allows; one model that does not work here does not end the comparison of the others."""
    watch = Stopwatch(question.config.model_seconds)
    try:
        task = make_task(question.splits, question.kind, pretrained, question.train.max_length)
        features = None
        if name != SCRATCH and has_features(task):
            features = encode_sample(
                task,
                pool.table,
                pretrained,
                question.train,
                device=runtime.device,
                seed=question.seed,
                watch=watch.part(ENCODE_SHARE),
                listener=listener,
            )
    except UNFIT as error:
        return Examined(_unavailable(name, error, listener), error=error)
    return _Begun(name, pretrained, task, features, watch.left)


def _measure(one: _Begun, question: Question, pool: Pool, runtime: Runtime, listener: Listener) -> Examined:
    """Score and cost."""
    watch = Stopwatch(one.seconds)
    candidate = Candidate(
        one.name,
        languages=one.pretrained.languages,
        licence=one.pretrained.licence,
        parameters=one.pretrained.parameters,
        pretrained=one.name != SCRATCH,
        reasons=(ABOUT,) if one.name == SCRATCH else (),
    )
    try:
        candidate, judged, rate = _judged(candidate, one, pool, question, runtime, watch, listener)
        candidate = _with_cost(candidate, one.task, pool, one.pretrained, question, runtime, rate, watch, listener)
    except UNFIT as error:
        return Examined(_unavailable(one.name, error, listener), error=error)
    return Examined(candidate, judged, one.task)


def _unavailable(name: str, error: PenjingError, listener: Listener) -> Candidate:
    listener(Notice("select", f"{name} is left out: {error.finding.removeprefix(f'{name} ')}", "warning"))
    return Candidate(name, "unavailable", (error.what,))


def _judged(
    candidate: Candidate,
    one: _Begun,
    pool: Pool,
    question: Question,
    runtime: Runtime,
    watch: Stopwatch,
    listener: Listener,
) -> tuple[Candidate, Judged, float | None]:
    """The candidate with its score, by a probe, its stand-in, or a short run; and the rows it encodes a second."""
    if not has_features(one.task):
        from penjing.select.short_run import judge_short_run

        judged, rate = judge_short_run(
            one.task,
            pool,
            one.pretrained,
            question.train,
            runtime,
            seed=question.seed,
            level=LEVEL,
            watch=watch.part(RUN_SHARE),
            listener=listener,
        )
        passes = passes_a_row(question.train, one.pretrained)
        return _scored(candidate, one.task, judged, shipped().run_only.mean), judged, passes * rate
    known = one.features
    predictor = stand_in_predictor(one.task, pool) if known is None else probe_predictor(one.task, known)
    judged = judge(
        one.task,
        pool,
        predictor,
        watch=watch.part(PROBE_SHARE),
        level=LEVEL,
        seed=question.seed,
        shares=(1.0,),
    )
    gain = shipped().stand_in_gain if known is None else shipped().probe_gain
    candidate = _scored(candidate, one.task, judged, gain.mean)
    if known is None:
        return candidate, judged, None
    return replace(candidate, logme=round(logme(*to_numpy(known)), 4)), judged, known.rows_per_s


def _scored(candidate: Candidate, task: Task, judged: Judged, gain: float) -> Candidate:
    error = max(error_of(task, judged.score), 0.5 / len(judged.positions))
    return replace(
        candidate,
        probe=judged.score,
        probe_low=judged.low,
        probe_high=judged.high,
        probe_rows=len(judged.positions),
        expected=score_of(task, error * math.exp(gain)),
    )


def _with_cost(
    candidate: Candidate,
    task: Task,
    pool: Pool,
    pretrained: Pretrained,
    question: Question,
    runtime: Runtime,
    rate: float | None,
    watch: Stopwatch,
    listener: Listener,
) -> Candidate:
    """Latency, throughput, memory and bytes, and a rough training time."""
    from penjing.train.random_weights import resolve_for

    serving = measure_export(
        task,
        pool.table.rows,
        pretrained,
        question.train,
        num_rows=len(question.splits.train),
        threads=runtime.threads,
        concurrency=question.budget.concurrency,
        rows_per_s=rate,
        watch=watch,
        listener=listener,
    )
    rate = serving.rows_per_s if rate is None else rate
    num_rows = len(question.splits.train)
    train = resolve_for(question.train, task, pretrained, num_rows=num_rows)
    epochs = train.epochs
    assert epochs is not None
    if question.train.method == "probe":
        epochs = 1.0  # rows are encoded once; the head that then learns from them costs little
    return replace(
        candidate,
        p50_ms=serving.p50_ms,
        p95_ms=serving.p95_ms,
        rows_per_s=serving.rows_per_s,
        size_mb=serving.size_mb,
        ram_mb=serving.ram_mb,
        backend=serving.backend,
        train_minutes=round(passes_a_row(train, pretrained) * num_rows * epochs / rate / 60, 2),
    )


def passes_a_row(config: TrainConfig, pretrained: Pretrained) -> float:
    """What training on a row costs in an epoch, in forward passes of it.

    Frozen layers cost nothing: their states are computed once and kept.

    Args:
        config: the method, and how many layers it leaves as they are.
        pretrained: its `config.json` says how many layers there are; where it does not, none counts as frozen.
    """
    if config.method == "probe":
        return 1.0
    about = json.loads((pretrained.directory / "config.json").read_bytes())
    layers = about.get("num_hidden_layers")
    if layers is None or config.method not in ("full", "last-k") or config.train_embeddings:
        return PASSES_A_STEP
    if config.method == "last-k":
        trained = config.last_k
    else:
        trained = layers - (layers // 3 if config.frozen_layers is None else config.frozen_layers)
    return PASSES_A_STEP * min(1.0, max(trained, 1) / layers)
