"""What predicting will cost, measured before anything is trained: the untrained model is exported and run for real.

Weights do not change what a model costs, so an export with a fresh head, run by the predictor that will serve, gives
the latency, throughput, memory and bytes of the model to come. Where the export cannot be made in time, torch is timed
and the difference between the two is allowed for, and said.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from penjing.core.artifact import seal, size_bytes, write_atomic
from penjing.core.cache_dir import cache_dir
from penjing.core.errors import CapabilityError
from penjing.core.events import Listener, Notice
from penjing.core.runtime import usable_threads
from penjing.core.task import Row, Run, Task
from penjing.evaluate.hardware import describe_hardware
from penjing.models.pretrained import Pretrained
from penjing.predict.process import figures_of
from penjing.predict.setup import Setup
from penjing.predict.task_file import predict_files, write_task
from penjing.select.stopwatch import Stopwatch

if TYPE_CHECKING:
    from penjing.train.config import TrainConfig

MAX_INPUTS = 256
MEASURE_SECONDS = 1.0
WARM_UP_ROWS, MIN_TIMED_ROWS = 2, 12
CACHE_VERSION = 4
MAX_COUNTED = 2_000  # rows by which it is foreseen what a model will remember of all
KILLED = 9  # SIGKILL, which Windows has no name for
# Medians of onnxruntime over torch for the same fp32 model, batch 1 and batch 32 (MiniLM-L6, 2 cores, torch 2.13,
# onnxruntime 1.32), for when nothing can be exported in time.
TORCH_LATENCY_RATIO = 0.37
TORCH_RATE_RATIO = 1.9
# What a predicting process holds beside weights and tokenizer; how often the weights are in memory while they load; and
# how much a tokenizer grows from its file to memory (239 MB were measured for minilm-l6-en, 1,229 for
# e5-small-multilingual with its 250,000 pieces; this gives 258 and 1,166).
PROCESS_MB = 110.0
WEIGHT_COPIES = 1.4
TOKENIZER_GROWTH = 45.0


@dataclass(frozen=True)
class Serving:
    """What a prediction costs on this machine.

    Args:
        p50_ms: median latency of one row, raw text to label.
        p95_ms: 95th percentile.
        rows_per_s: raw rows to labels, in batches.
        size_mb: bytes on disk that predicting needs, in MB.
        ram_mb: peak resident memory of a predicting process, in MB.
        load_ms: start of the program to ready, or None where only torch was timed.
        backend: "onnxruntime", or what was timed instead.
        concurrency: callers at the same time, for latency.
    """

    p50_ms: float
    p95_ms: float
    rows_per_s: float
    size_mb: float
    ram_mb: float
    load_ms: float | None
    backend: str
    concurrency: int = 1

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def measure_export(
    task: Task,
    rows: Sequence[Row],
    pretrained: Pretrained,
    config: TrainConfig,
    *,
    num_rows: int,
    threads: int,
    concurrency: int,
    rows_per_s: float | None,
    watch: Stopwatch,
    listener: Listener,
) -> Serving:
    """Export, run and measure; remembered in the cache directory by model, machine, libraries and lengths of the rows.

    Figures of a machine that was busy with other work are not remembered. Where time or memory does not suffice, the
    model is timed in torch instead.

    Args:
        task: its schema decides the size of the head.
        rows: of the user's data; at most 256 are predicted.
        pretrained: the model.
        config: settings of the fine-tuning.
        num_rows: of the training part; what a model remembers of them grows with it.
        threads: for the export.
        concurrency: callers at the same time, for latency.
        rows_per_s: as `time_torch`.
        watch: the time allowed.
        listener: told where a process was killed, or nothing can be remembered.

    Raises:
        CapabilityError: the model cannot be exported.
    """
    sample = list(rows[:MAX_INPUTS])
    kept = cache_dir() / "serving" / f"{_key(task, sample, pretrained, config, concurrency, num_rows)}.json"
    if kept.is_file():
        return Serving(**json.loads(kept.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="penjing-") as name:
        directory = Path(name)
        write_task(task, directory)
        job = {
            "directory": str(directory),
            "pretrained": {**asdict(pretrained), "directory": str(pretrained.directory)},
            "train": config.model_dump(mode="json"),
            "rows": list(rows[:MAX_COUNTED]),
            "num_rows": num_rows,
            "threads": threads,
        }
        found = None
        if _in_process("penjing.select.export_process", job, watch, listener) is not None:
            found = measure_directory(task, directory, sample, concurrency=concurrency, watch=watch, listener=listener)
    if found is None:
        return time_torch(task, rows, pretrained, config, rows_per_s=rows_per_s, watch=watch)
    if not machine_busy():
        _remember(found, kept, listener)
    return found


def _remember(found: Serving, kept: Path, listener: Listener) -> None:
    """Keep figures for the next time; a cache that cannot be written (read-only, full) costs no more than that."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, json.dumps(found.to_json()) + "\n")
    except OSError as error:
        text = f"what predicting costs is not remembered, and measured again next time: {kept}: {error.strerror}"
        listener(Notice("select", text, "warning"))


def measure_directory(
    task: Task, directory: Path, rows: Sequence[Row], *, concurrency: int, watch: Stopwatch, listener: Listener
) -> Serving | None:
    """Seal a directory with task and `model.onnx`, and measure it in a fresh predicting process; None: killed."""
    capabilities = {"predict_files": predict_files(task)}
    artifact = seal(directory, kind=task.kind, capabilities=capabilities, batch_invariant=True)
    columns = [name for name in (task.roles.text, task.roles.text_pair, *task.roles.features) if name is not None]
    job = {
        "artifact": str(directory),
        "inputs": [{name: row.get(name) for name in columns} for row in rows[:MAX_INPUTS]],
        "concurrency": concurrency,
        "setup": Setup().to_json(),
        "seconds": min(MEASURE_SECONDS, max(0.2, watch.left / 8)),
    }
    output = _in_process("penjing.predict.fresh_process", job, watch, listener)
    if output is None:
        return None
    found = figures_of(output)
    return Serving(
        p50_ms=round(found["p50_ms"], 3),
        p95_ms=round(found["p95_ms"], 3),
        rows_per_s=round(found["rows_per_s"], 1),
        size_mb=round(size_bytes(artifact) / 1e6, 3),
        ram_mb=round(found["peak_ram_mb"], 1),
        load_ms=round(found["load_ms"], 1),
        backend="onnxruntime",
        concurrency=concurrency,
    )


def _in_process(module: str, job: dict[str, Any], watch: Stopwatch, listener: Listener) -> str | None:
    """Run a module in a fresh interpreter; None where it was killed, because time was up or by the system."""
    if watch.left <= 0:
        return None
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=watch.left,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode < 0:
        text = f"what predicting costs is estimated, not measured: signal {-done.returncode} ended {module}" + (
            ", as the system does where memory runs out" if done.returncode == -KILLED else ""
        )
        listener(Notice("select", text, "warning"))
        return None
    if done.returncode:
        if done.returncode == CapabilityError.exit_code:
            raise CapabilityError(done.stderr.strip().splitlines()[-1])
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def time_torch(
    task: Task,
    rows: Sequence[Row],
    pretrained: Pretrained,
    config: TrainConfig,
    *,
    rows_per_s: float | None,
    watch: Stopwatch,
) -> Serving:
    """The same from torch in this process, corrected for the backend that will serve; memory from the parameters.

    Args:
        task: as `measure_export`.
        rows: likewise.
        pretrained: likewise.
        config: likewise.
        rows_per_s: raw rows to embeddings with torch in the precision `auto` stands for, where already measured; None:
            what single rows give.
        watch: the time allowed.
    """
    import torch

    from penjing.core import registry
    from penjing.train.precision import choose_dtype
    from penjing.train.validation import runner

    model = registry.load(task.trainer)().build_model(task, pretrained, config, 0).eval()
    with torch.no_grad():
        p50_ms, p95_ms = time_rows(task, runner(model, "cpu"), rows, watch)
    rate = 1000 / p50_ms if rows_per_s is None else rows_per_s
    if rows_per_s is None or choose_dtype("auto", "cpu") == torch.float32:
        rate *= TORCH_RATE_RATIO  # of fp32 over fp32; a rate in bf16 has gained already and is taken as it is
    latencies = (p50_ms * TORCH_LATENCY_RATIO, p95_ms * TORCH_LATENCY_RATIO)
    weights_mb = sum(weight.numel() * weight.element_size() for weight in model.parameters()) / 1e6
    return _timed(task, *latencies, rate, weights_mb, "torch, corrected")


def time_library(task: Task, run: Run, rows: Sequence[Row], path: Path, watch: Stopwatch) -> Serving:
    """Latency of a fitted model in the library that learned it, where no time is left to measure its export.

    Args:
        task: encodes and decodes.
        run: the fitted model.
        rows: of the user's data.
        path: its `model.onnx`.
        watch: the time allowed.
    """
    p50_ms, p95_ms = time_rows(task, run, rows, watch)
    begun = time.perf_counter()
    task.predict(run, task.encode(list(rows[:MAX_INPUTS])))
    rate = len(rows[:MAX_INPUTS]) / (time.perf_counter() - begun)
    return _timed(task, p50_ms, p95_ms, rate, path.stat().st_size / 1e6, "library that learned it")


def time_rows(task: Task, run: Run, rows: Sequence[Row], watch: Stopwatch) -> tuple[float, float]:
    """(median, 95th percentile) of single rows in ms; at least 12 rows are timed, after two that are not."""
    spent = []
    for place, row in enumerate(rows[: MAX_INPUTS + WARM_UP_ROWS]):
        begin = time.perf_counter()
        task.predict(run, task.encode([row]))
        spent.append((time.perf_counter() - begin) * 1000)
        if place >= MIN_TIMED_ROWS and watch.left <= 0:
            break
    p50_ms, p95_ms = np.percentile(spent[WARM_UP_ROWS:] or spent, [50, 95])
    return float(p50_ms), float(p95_ms)


def _timed(task: Task, p50_ms: float, p95_ms: float, rows_per_s: float, weights_mb: float, backend: str) -> Serving:
    files_mb = sum(path.stat().st_size for path in task.files().values()) / 1e6
    return Serving(
        p50_ms=round(p50_ms, 3),
        p95_ms=round(p95_ms, 3),
        rows_per_s=round(rows_per_s, 1),
        size_mb=round(weights_mb + files_mb, 3),
        ram_mb=round(PROCESS_MB + WEIGHT_COPIES * weights_mb + TOKENIZER_GROWTH * files_mb, 1),
        load_ms=None,
        backend=backend,
    )


def machine_busy() -> bool:
    """Whether clearly more work waits for the processor than it has cores; unknown on Windows, and then not."""
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1  # of all: the load is the whole machine's
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > 1.5 * cores + 1


def _grade(value: float) -> int:
    """Equal for values within about 15% of each other."""
    return round(float(np.log(max(value, 1.0)) / np.log(1.15)))


def _key(
    task: Task, rows: Sequence[Row], pretrained: Pretrained, config: TrainConfig, concurrency: int, num_rows: int
) -> str:
    """What decides the cost: the same figures are not measured twice."""
    lengths = np.quantile(task.lengths(rows), [0.1, 0.5, 0.9, 0.95])
    machine = describe_hardware()
    facts = {
        "version": CACHE_VERSION,
        "kind": task.kind,
        "inputs": [[spec.name, *spec.shape] for spec in task.signature.inputs],
        "outputs": [list(spec.shape) for spec in task.signature.outputs],
        "model": hashlib.sha256((pretrained.directory / "config.json").read_bytes()).hexdigest(),
        "parameters": pretrained.parameters,
        "lengths": [_grade(length) for length in lengths],
        "ngrams": [config.ngrams, config.method == "probe", _grade(num_rows)],
        "concurrency": concurrency,
        "cpu": [machine.cpu, machine.cores, machine.flags],
        "threads": usable_threads(),
        "libraries": machine.libraries,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
