"""A predicting process that measures itself: a job (JSON) on standard input, figures (JSON) on standard output."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Load, predict, and print the figures."""
    job = json.load(sys.stdin)
    print(json.dumps(run(job)))  # noqa: T201


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure in this process.

    Args:
        job: artifact, inputs, concurrency, backend, threads, seconds (see `measure`).

    Returns:
        The figures, and the manifest of what was measured.
    """
    begin = time.perf_counter()
    # Imported here, so that loading numpy and onnxruntime counts as load time.
    from penjing.predict.load import load

    predictor = load(job["artifact"], job["backend"], job["threads"])
    load_ms = (time.perf_counter() - begin) * 1000
    from penjing.predict.measure import measure_latency, measure_throughput

    latency = measure_latency(predictor.predict, job["inputs"], concurrency=job["concurrency"], seconds=job["seconds"])
    rows_per_s = measure_throughput(predictor.predict, job["inputs"], seconds=job["seconds"])
    return {
        "load_ms": load_ms,
        "p50_ms": latency.p50_ms,
        "p95_ms": latency.p95_ms,
        "rows_per_s": rows_per_s,
        "peak_ram_mb": peak_resident_bytes() / 1e6,
        "num_threads": predictor.backend.num_threads,
        "manifest": predictor.artifact.manifest,
    }


def peak_resident_bytes() -> int:
    """Peak resident memory of this process since it began."""
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: there a child begins with the peak of the process it was forked from.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts bytes


if __name__ == "__main__":
    main()
