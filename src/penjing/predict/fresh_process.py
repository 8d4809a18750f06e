"""A predicting process that measures itself: a job (JSON) on standard input, figures (JSON) on standard output."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penjing.core.task import Prediction


def main() -> None:
    """Load, predict, and print the figures, or what the user can mend."""
    job = json.load(sys.stdin)
    print(json.dumps(run(job)))  # noqa: T201


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure in this process.

    Args:
        job: artifact, inputs, concurrency, seconds (see `measure`), setup (as JSON), and, optionally, whether to
            return the answers.

    Returns:
        The figures, and the manifest of what was measured; or under "refused" the error, where the setup cannot run
        this artifact.
    """
    begin = time.perf_counter()
    # Imported here, so that loading numpy and onnxruntime counts as load time.
    from penjing.core.artifact import open_artifact
    from penjing.core.errors import PenjingError
    from penjing.predict.predictor import Predictor
    from penjing.predict.setup import Setup

    try:
        predictor = Predictor(open_artifact(job["artifact"]), setup=Setup.from_json(job["setup"]))
        predictor.open()
    except PenjingError as error:
        return {"refused": error.to_json()}
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
        "answers": answers_of(predictor.predict(job["inputs"])) if job.get("answers") else None,
    }


def answers_of(predictions: list[Prediction]) -> list[dict[str, Any]]:
    """Predictions as JSON, to compare what two processes answered."""
    return [
        {
            "value": json.loads(json.dumps(prediction.value, default=asdict)),
            "confidence": prediction.confidence,
            "probs": None if prediction.probs is None else prediction.probs.tolist(),
        }
        for prediction in predictions
    ]


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
