"""Runs penjing in a fresh process, as a user would, and says how long it took, when, and how much memory it needed.

`measured_run` starts this file as a program; the job is JSON on its standard input, the outcome a JSON file.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil


def measured_run(
    source: Path, out: Path, overrides: Mapping[str, Any], *, prove: bool = True, keep: bool = False
) -> dict[str, Any]:
    """Run penjing on `source` and return what came of it.

    Args:
        source: data file, or recipe.
        out: directory of the artifact; replaced where it exists.
        overrides: recipe keys.
        prove: `penjing.run`; False: `penjing.train`, without quote, test and report.
        keep: whether the artifact stays.

    Returns:
        wall_s (from spawning the process to its end), metrics of the report (name → value, low, high), rows, data
        fingerprint, training rows, rows a second of the steps alone, resolved train settings, valid metrics, steps
        ([step, seconds since the process began]), timeline ([seconds, stage, done, total, valid metric]), notices
        ([seconds, stage]), peak memory in MB after each stage and of the whole process.
    """
    discard(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    answer = out.with_name(out.name + ".outcome.json")
    answer.unlink(missing_ok=True)
    job = {"source": str(source), "out": str(out), "overrides": dict(overrides), "prove": prove, "answer": str(answer)}
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve())], input=json.dumps(job), text=True, stderr=subprocess.PIPE
    )
    wall = time.perf_counter() - begun
    if done.returncode != 0:
        raise RuntimeError(f"the run ended with {done.returncode}:\n{done.stderr[-3000:]}")
    outcome = json.loads(answer.read_text(encoding="utf-8"))
    answer.unlink()
    if not keep:
        discard(out)
    return {"wall_s": wall, **outcome}


def discard(out: Path) -> None:
    """Remove an artifact, finished or not, and its sealed test file."""
    for path in (out, out.with_name(out.name + ".partial")):
        shutil.rmtree(path, ignore_errors=True)
    out.with_name(out.name + ".test.jsonl").unlink(missing_ok=True)


@dataclass
class Watch:
    """A listener that notes when things happened."""

    timeline: list[list[Any]] = field(default_factory=list)
    notices: list[list[Any]] = field(default_factory=list)
    steps: list[list[float]] = field(default_factory=list)
    peak_mb: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # From the birth of the process: starting Python and importing count.
        self.born = psutil.Process().create_time()

    def __call__(self, event: Any) -> None:
        """Note a progress event: each training step, and elsewhere what is new about it; of a notice, when it came."""
        now = round(time.time() - self.born, 4)
        if not hasattr(event, "done"):  # a notice
            self.notices.append([now, event.stage])
            return
        valid = next((v for k, v in event.values.items() if k.startswith("valid_")), None)
        last = self.timeline[-1] if self.timeline else [0.0, "", 0, 0, None]
        entry = [now, event.stage, event.done, event.total, valid]
        if event.stage != last[1] or valid != last[4] or event.done == event.total:
            self.timeline.append(entry)
        if event.stage == "train":
            self.steps.append([event.done, now])
        self.peak_mb[event.stage] = peak_mb()


def peak_mb() -> float:
    """Peak resident memory of this process in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # getrusage also counts the process this one was spawned from.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main() -> None:
    job = json.load(sys.stdin)
    watch = Watch()
    outcome: dict[str, Any] = {}
    from penjing.pipeline.run import run, train

    common = {"out": job["out"], "overwrite": True, "overrides": job["overrides"], "listener": watch}
    if job["prove"]:
        result = run(job["source"], **common)
        artifact, report = result.artifact, result.report
        assert report is not None
        names = ("value", "low", "high", "n")
        outcome["metrics"] = {k: {n: getattr(m, n) for n in names} for k, m in report.evaluation.metrics.items()}
        outcome["rows"] = report.data.rows
        outcome["cost"] = report.cost.model_dump(mode="json")
        outcome["quote"] = [figure.model_dump(mode="json") for figure in report.quote]
    else:
        artifact = train(job["source"], **common)
    training = artifact.manifest["training"]
    outcome |= {
        "fingerprint": artifact.manifest["data_fingerprint"],
        "train_minutes": training["minutes"],
        "train_rows": training["rows"]["train"],
        "samples_per_s": training["samples_per_s"],
        "valid": training["valid"],
        "train": training.get("train"),
        "timeline": watch.timeline,
        "notices": watch.notices,
        "steps": watch.steps,
        "peak_mb": {**watch.peak_mb, "whole": peak_mb()},
        "ru_maxrss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }
    Path(job["answer"]).write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    main()
