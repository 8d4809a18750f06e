"""Chooses how to run an artifact on this machine, by measurement, and certifies it.

Each setup is measured in a fresh process, as it would run in production: the threads of one library do not disturb
another's. First every backend as it comes, then threads and precision, then the size of batches for the best of them.
What answers otherwise than the default setup is measured, but not chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf, sqrt
from typing import Any

import numpy as np

from penjing.core.artifact import Artifact
from penjing.core.cpu import read_cpu
from penjing.core.errors import CapabilityError
from penjing.core.events import Listener, Notice, Progress, ignore
from penjing.core.runtime import usable_threads
from penjing.predict.certificate import LIBRARIES, Certificate, Goal, Trial, installed_version
from penjing.predict.process import in_fresh_process, job_of, spread
from penjing.predict.setup import BATCH_ROWS, DEFAULT_BACKEND, LENGTH_STEP, MOST_WORKERS, Setup
from penjing.predict.task_file import MODEL_FILE

# Torch is measured where it is asked for: it needs a second to be imported and a third of a GB, and what it runs was
# exported because the others are quicker.
BACKENDS = (DEFAULT_BACKEND, "openvino")
BATCHES = (256, 1024, 2048, 4096)
# Of texts of 8 tokens a batch of so many rows still holds as many tokens as it may.
SHORT_TEXT = 8
MAX_CHOICE_INPUTS = 256
TOLERANCE = 1e-2
# Two measurements of one setup differ by some percent, so one that is hardly better is not chosen for it.
MIN_GAIN = 1.05
_SECONDS = (0.1, 0.75)  # least and most for latency, and again for throughput, in each process
_EXPECTED_TRIALS = 15
_MOST_DIFFERENCE = 1e9


@dataclass
class _Search:
    """What is known so far; the first trial is of the default setup."""

    artifact: Artifact
    inputs: list[Any]
    concurrency: int
    goal: Goal
    tolerance: float
    seconds: float
    deadline: float
    listener: Listener
    trials: list[Trial] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    longest: float = 0.0
    num_untried: int = 0
    limits: Mapping[str, float] = field(default_factory=dict)
    exceeding: list[Setup] = field(default_factory=list)

    def attempt(self, setup: Setup) -> Trial | None:
        """Measure a setup; None where time is up, or it cannot run this artifact here (the listener hears why)."""
        begun = time.monotonic()
        if self.trials and begun + self.longest > self.deadline:
            self.num_untried += 1
            return None
        job = job_of(
            self.artifact, self.inputs, setup, concurrency=self.concurrency, seconds=self.seconds, answers=True
        )
        try:
            found = in_fresh_process(self.artifact, job)
        except CapabilityError as error:
            if not self.trials:
                raise
            self.listener(Notice("measure", f"{setup.backend} in {setup.precision} is left out: {error.finding}"))
            return None
        self.longest = max(self.longest, time.monotonic() - begun)
        difference, num_flipped = compare_answers(self.answers or found["answers"], found["answers"])
        self.answers = self.answers or found["answers"]
        trial = Trial(
            setup=setup,
            p50_ms=round(float(found["p50_ms"]), 4),
            rows_per_s=round(float(found["rows_per_s"]), 2),
            difference=float(f"{difference:.3g}"),
            num_flipped=num_flipped,
            accepted=difference <= self.tolerance,
        )
        if any(_misses(name, float(found[name]), limit) for name, limit in self.limits.items()):
            self.exceeding.append(setup)
        self.trials.append(trial)
        figures = {"p50_ms": trial.p50_ms, "rows_per_s": trial.rows_per_s}
        self.listener(Progress("measure", len(self.trials), None, "setups", note=str(setup), values=figures))
        return trial

    def may_choose(self, trial: Trial) -> bool:
        """Whether it answers as the default setup does, and within the limits."""
        return trial.accepted and trial.setup not in self.exceeding

    def gain(self, trial: Trial) -> float:
        """How many times better than the default setup, by the goal."""
        default = self.trials[0]
        latency, throughput = default.p50_ms / trial.p50_ms, trial.rows_per_s / default.rows_per_s
        return {"latency": latency, "throughput": throughput, "balanced": sqrt(latency * throughput)}[self.goal]

    def ranked(self) -> list[Trial]:
        """What may be chosen, best first; the default before those that are hardly better, where it may be chosen."""
        default = self.trials[0]
        others = sorted((trial for trial in self.trials[1:] if self.may_choose(trial)), key=self.gain, reverse=True)
        least = 0.0 if default.setup in self.exceeding else MIN_GAIN
        better = [trial for trial in others if self.gain(trial) >= least]
        return [*better, default, *others[len(better) :]]


def choose_setup(
    artifact: Artifact,
    inputs: Sequence[Any],
    *,
    default: Setup | None = None,
    backends: Sequence[str] = BACKENDS,
    goal: Goal = "balanced",
    budget_seconds: float = 60.0,
    concurrency: int = 1,
    tolerance: float = TOLERANCE,
    limits: Mapping[str, float] | None = None,
    listener: Listener = ignore,
) -> Certificate:
    """Measure the setups worth trying, and choose one.

    Args:
        artifact: a verified artifact.
        inputs: JSON-able inputs for its predictor, of the kind it will meet; up to 256 of them, evenly spaced, are
            used.
        default: how it is run unless another setup is better, and whose answers the others are to give; None: on
            onnxruntime as it comes.
        backends: registered backends to try, besides the default's; what is not installed is left out.
        goal: what decides: the latency of one row, rows a second of many, or both (the geometric mean of the gains).
        budget_seconds: when no further setup is tried; the default one always is.
        concurrency: callers at the same time, for latency.
        tolerance: greatest difference from the default's answers (see `Trial`) that is accepted.
        limits: figure of a `Measurement` ("p95_ms", "rows_per_s", "peak_ram_mb") → the most it may be, or of rows the
            least; a setup that keeps to all comes before one that does not.
        listener: told of each setup, and of what is left out.

    Returns:
        The certificate; its choice is the default setup where nothing is clearly better.

    Raises:
        CapabilityError: not even the default setup can run this artifact.
        ArtifactError: another artifact has taken its place meanwhile.
    """
    least, most = _SECONDS
    search = _Search(
        artifact=artifact,
        inputs=spread(inputs, MAX_CHOICE_INPUTS),
        concurrency=concurrency,
        goal=goal,
        tolerance=tolerance,
        # Half of the time goes to starting processes and loading models.
        seconds=min(max(budget_seconds / (4 * _EXPECTED_TRIALS), least), most),
        deadline=time.monotonic() + budget_seconds,
        listener=listener,
        limits=limits or {},
    )
    default = default or Setup()
    search.attempt(default)
    for backend in dict.fromkeys(backends):
        if backend != default.backend:
            search.attempt(Setup.of_backend(backend))
    for trial in search.ranked():
        for setup in _variants(trial.setup):
            search.attempt(setup)
    best = search.ranked()[0]
    # Single rows are not cut into batches, so that rows a second alone tell sizes apart.
    sizes = [best] + [found for size in BATCHES if (found := search.attempt(_with_batches(best.setup, size)))]
    most_rows = max((one for one in sizes if one is best or search.may_choose(one)), key=lambda one: one.rows_per_s)
    chosen = most_rows if most_rows.rows_per_s >= MIN_GAIN * best.rows_per_s else best
    if search.num_untried:
        listener(Notice("measure", f"the time was up before {search.num_untried} setups were tried"))
    tried = {LIBRARIES.get(trial.setup.backend, "") for trial in search.trials}
    versions = {name: installed_version(name) for name in sorted(tried)}
    return Certificate(
        model_sha256=artifact.manifest["files"][artifact.stored(MODEL_FILE)]["sha256"],
        cpu=read_cpu(),
        threads=usable_threads(),
        libraries={name: version for name, version in versions.items() if version is not None},
        goal=goal,
        concurrency=concurrency,
        num_inputs=len(search.inputs),
        tolerance=tolerance,
        chosen=chosen.setup,
        trials=tuple(search.trials),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _misses(name: str, figure: float, limit: float) -> bool:
    return figure < limit if name == "rows_per_s" else figure > limit


def _variants(setup: Setup) -> Iterator[Setup]:
    """The same backend on all threads or on one, by one worker or a worker a thread, or half of them on two threads
    each; in bf16 where it takes the hint and the processor has instructions; with rows padded by their own
    length, where they are padded by their batch's.
    """
    threads = usable_threads()
    ways: list[tuple[int | None, int]] = [(None, 1)]
    if threads > 1:
        ways += [(1, 1), (1, min(threads, MOST_WORKERS))]
    if threads >= 4:
        ways.append((2, min(threads // 2, MOST_WORKERS)))
    plain = replace(setup, precision="fp32")
    found = [replace(plain, threads=each, workers=workers) for each, workers in ways]
    if takes_bf16(setup.backend):
        found += [replace(one, precision="bf16") for one in found]
    if not setup.length_step:  # the other way round answers would move with their batch where they do not now
        found.append(replace(setup, length_step=LENGTH_STEP))
    yield from (one for one in found if one != setup)


def takes_bf16(backend: str) -> bool:
    """Whether a backend takes the hint, and this processor has instructions."""
    return backend == "openvino" and "BF16" in read_cpu().flags


def _with_batches(setup: Setup, tokens: int) -> Setup:
    return replace(setup, batch_tokens=tokens, batch_rows=max(BATCH_ROWS, tokens // SHORT_TEXT))


def compare_answers(reference: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """How far answers are from others; both as `fresh_process.answers_of` returns them.

    Returns:
        The greatest difference, as `Trial` has it, and the number of rows answered otherwise.
    """
    pairs = list(zip(reference, found, strict=True))
    if isinstance(reference[0]["value"], float):
        old, new = (np.array([answer["value"] for answer in side]) for side in (reference, found))
        return _bounded(np.abs(new - old) / (np.ptp(old) or max(float(np.abs(old).max()), 1.0))), 0
    flipped = sum(old["value"] != new["value"] for old, new in pairs)
    if any(answer["probs"] is None for answer in reference):
        return flipped / len(pairs), flipped
    old, new = (np.array([answer["probs"] for answer in side]) for side in (reference, found))
    return _bounded(np.abs(new - old)), flipped


def _bounded(differences: np.ndarray) -> float:
    """The greatest one; what is no number is the greatest of all."""
    return min(float(np.nan_to_num(differences, nan=inf, posinf=inf).max()), _MOST_DIFFERENCE)
