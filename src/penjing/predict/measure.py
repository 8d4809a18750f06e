"""What predicting costs on this machine: latency, throughput, load time, memory, bytes on disk.

Everything is measured in fresh processes, as they run in production: the memory of the process that asks, its threads
and its caches do not count. Figures are medians over those processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from statistics import median
from threading import Barrier
from typing import Any

import numpy as np

from penjing.core.artifact import Artifact, size_bytes
from penjing.core.events import Listener, Progress, ignore
from penjing.predict.load import decide
from penjing.predict.process import in_fresh_process, job_of, spread
from penjing.predict.setup import Setup

Call = Callable[[list[Any]], object]
MAX_INPUTS = 1_000
WARM_UP_CALLS = 3
MIN_CALLS = 20  # of fewer, the slowest in twenty is not known
PILOT_ROWS = 16
MAX_THROUGHPUT_ROWS = 50_000
NUM_PROCESSES = 3  # fresh ones that medians are taken over
SECONDS = 0.75  # for latency, and again for throughput, in each process


@dataclass(frozen=True)
class Latency:
    """Time of one call with one row, while `concurrency` callers each have a call under way.

    Args:
        p50_ms: median in ms.
        p95_ms: 95th percentile in ms.
        concurrency: callers at the same time.
        num_calls: calls measured.
    """

    p50_ms: float
    p95_ms: float
    concurrency: int
    num_calls: int


@dataclass(frozen=True)
class Measurement:
    """Medians over fresh predicting processes.

    Args:
        load_ms: from a bare interpreter to ready: imports of what predicts, checking every file, loading the model.
        p50_ms: median latency of one row in ms, at `concurrency`.
        p95_ms: 95th percentile of it.
        concurrency: callers at the same time.
        rows_per_s: raw rows to predictions, in batches.
        peak_ram_mb: peak resident memory, in MB (10^6 bytes).
        size_mb: bytes on disk that predicting needs, in MB.
        num_threads: threads of one run of the model.
        num_processes: processes the medians are over.
        setup: how the model was run.
        ranges: figure → the least and the greatest of the processes.
    """

    load_ms: float
    p50_ms: float
    p95_ms: float
    concurrency: int
    rows_per_s: float
    peak_ram_mb: float
    size_mb: float
    num_threads: int
    num_processes: int
    setup: Setup
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def measure(
    artifact: Artifact,
    inputs: Sequence[Any],
    *,
    concurrency: int = 1,
    setup: Setup | None = None,
    seconds: float = SECONDS,
    num_processes: int = NUM_PROCESSES,
    listener: Listener = ignore,
) -> Measurement:
    """Measure an artifact on this machine.

    Args:
        artifact: a verified artifact.
        inputs: JSON-able inputs for its predictor, of the kind it will meet; up to 1,000 of them, evenly spaced, are
            used.
        concurrency: callers at the same time, for latency.
        setup: how to run it; None: as `load` would here.
        seconds: time spent on latency, and again on throughput, in each process.
        num_processes: fresh processes to take medians over.
        listener: told of each process.

    Raises:
        CapabilityError: one process did not end in five minutes, or the setup cannot run this artifact.
        ArtifactError: another artifact has taken its place meanwhile.
    """
    if setup is None:
        setup, notice = decide(artifact)
        if notice is not None:
            listener(notice)
    job = job_of(artifact, spread(inputs, MAX_INPUTS), setup, concurrency=concurrency, seconds=seconds)
    found = []
    for i in range(num_processes):
        found.append(in_fresh_process(artifact, job))
        listener(Progress("measure", i + 1, num_processes, "processes"))
    figures = {
        name: round(float(median(run[name] for run in found)), 3)
        for name in ("load_ms", "p50_ms", "p95_ms", "rows_per_s", "peak_ram_mb")
    }
    ranges = {
        name: [round(min(run[name] for run in found), 3), round(max(run[name] for run in found), 3)]
        for name in ("p95_ms", "rows_per_s", "peak_ram_mb")
    }
    return Measurement(
        **figures,
        ranges=ranges,
        concurrency=concurrency,
        size_mb=size_bytes(artifact) / 1e6,
        num_threads=int(found[0]["num_threads"]),
        num_processes=num_processes,
        setup=setup,
    )


def measure_latency(call: Call, inputs: Sequence[Any], *, concurrency: int = 1, seconds: float = 2.0) -> Latency:
    """Time single-row calls from `concurrency` closed loops (each caller waits for its answer, then calls again).

    Args:
        call: predicts a list of inputs.
        inputs: taken in turn.
        concurrency: callers at the same time.
        seconds: how long; each caller makes at least twenty calls.
    """
    for value in islice(cycle(inputs), WARM_UP_CALLS):
        call([value])
    together = Barrier(concurrency)

    def caller(number: int) -> list[float]:
        spent: list[float] = []
        together.wait()
        deadline = time.perf_counter() + seconds
        # Each caller starts elsewhere, so that they do not all send the same text at the same time.
        for value in islice(cycle(inputs), number * len(inputs) // concurrency, None):
            if len(spent) >= MIN_CALLS and time.perf_counter() >= deadline:
                break
            begin = time.perf_counter()
            call([value])
            spent.append(time.perf_counter() - begin)
        return spent

    with ThreadPoolExecutor(concurrency) as pool:
        spent_ms = np.concatenate(list(pool.map(caller, range(concurrency)))) * 1000
    p50, p95 = np.percentile(spent_ms, [50, 95])
    return Latency(round(float(p50), 4), round(float(p95), 4), concurrency, len(spent_ms))


def measure_throughput(call: Call, inputs: Sequence[Any], *, seconds: float = 2.0) -> float:
    """Rows a second when many rows are given at once.

    Args:
        call: predicts a list of inputs.
        inputs: repeated as often as needed.
        seconds: about how long; a pilot of 16 rows tells how many rows that is.
    """
    pilot = list(islice(cycle(inputs), PILOT_ROWS))
    call(pilot)
    begin = time.perf_counter()
    call(pilot)
    rate = PILOT_ROWS / (time.perf_counter() - begin)
    rows = list(islice(cycle(inputs), min(max(int(rate * seconds), PILOT_ROWS), MAX_THROUGHPUT_ROWS)))
    begin = time.perf_counter()
    call(rows)
    return len(rows) / (time.perf_counter() - begin)
