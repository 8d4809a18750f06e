"""What predicting costs on this machine: latency, throughput, load time, memory, bytes on disk.

Everything is measured in fresh processes, as they run in production: the memory of the process that asks, its threads
and its caches do not count. Figures are medians over those processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from statistics import median
from threading import Barrier
from typing import Any

import numpy as np

from penjing.core.artifact import Artifact, size_bytes
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.core.events import Listener, Progress, ignore

Call = Callable[[list[Any]], object]
MAX_INPUTS = 1_000
WARM_UP_CALLS = 3
MIN_CALLS = 20  # of fewer, the slowest in twenty is not known
PILOT_ROWS = 16
MAX_THROUGHPUT_ROWS = 50_000
SECONDS = 0.75  # for latency, and again for throughput, in each process
# A model so slow that one process needs this long cannot be measured in the time a user waits.
PROCESS_SECONDS = 300.0


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
        backend: name of the backend.
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
    backend: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def measure(
    artifact: Artifact,
    inputs: Sequence[Any],
    *,
    concurrency: int = 1,
    backend: str = "onnxruntime",
    threads: int | None = None,
    seconds: float = SECONDS,
    num_processes: int = 3,
    listener: Listener = ignore,
) -> Measurement:
    """Measure an artifact on this machine.

    Args:
        artifact: a verified artifact.
        inputs: JSON-able inputs for its predictor, of the kind it will meet; up to 1,000 of them, evenly spaced, are
            used.
        concurrency: callers at the same time, for latency.
        backend: a registered backend.
        threads: threads of one run; None: one a physical core.
        seconds: time spent on latency, and again on throughput, in each process.
        num_processes: fresh processes to take medians over.
        listener: told of each process.

    Raises:
        CapabilityError: one process did not end in five minutes.
        ArtifactError: another artifact has taken its place meanwhile.
    """
    assert inputs, "nothing to measure on"
    places = np.linspace(0, len(inputs) - 1, min(len(inputs), MAX_INPUTS)).astype(int)
    job = {
        "artifact": str(artifact.path),
        "inputs": [inputs[i] for i in places],
        "concurrency": concurrency,
        "backend": backend,
        "threads": threads,
        "seconds": seconds,
    }
    found = []
    for i in range(num_processes):
        found.append(_in_fresh_process(job))
        # The process opened the directory again, by its path and without the key that may have been asked for.
        if found[-1]["manifest"] != artifact.manifest:
            raise ArtifactError(
                "manifest.json was changed while the artifact was being measured",
                where=str(artifact.path),
                next_step="let nothing else write there, and measure again",
            )
        listener(Progress("measure", i + 1, num_processes, "processes"))
    figures = {
        name: round(float(median(run[name] for run in found)), 3)
        for name in ("load_ms", "p50_ms", "p95_ms", "rows_per_s", "peak_ram_mb")
    }
    return Measurement(
        **figures,
        concurrency=concurrency,
        size_mb=size_bytes(artifact) / 1e6,
        num_threads=int(found[0]["num_threads"]),
        num_processes=num_processes,
        backend=backend,
    )


def _in_fresh_process(job: dict[str, Any]) -> dict[str, Any]:
    # -P: whatever lies in the working directory, a folder of somebody's data perhaps, is not imported.
    command = [sys.executable, "-P", "-m", "penjing.predict.fresh_process"]
    try:
        done = subprocess.run(
            command, input=json.dumps(job), capture_output=True, text=True, timeout=PROCESS_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise CapabilityError(
            f"measuring did not end within {PROCESS_SECONDS:.0f} s",
            where=job["artifact"],
            next_step="measure on fewer or shorter rows, or choose a smaller model",
        ) from None
    if done.returncode:
        if done.returncode < 0:  # by a signal: whoever keeps the memory, mostly
            raise CapabilityError(
                f"the measuring process was killed (signal {-done.returncode})",
                where=job["artifact"],
                next_step="free some memory and try again, or choose a smaller model",
            )
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


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
