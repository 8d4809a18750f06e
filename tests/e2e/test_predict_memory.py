"""`penjing predict` on files of any size: memory does not grow with the rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penjing.core.task import TextSettings
from penjing.models.pretrained import Pretrained
from tiny_artifacts import make_artifact, make_task

# The peak is read by the process itself: what a parent is told of its child includes the parent's own memory.
PROGRAM = """
import sys
from penjing.cli import main
code = main(sys.argv[1:])
status = open("/proc/self/status").read()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
sys.exit(code)
"""


def predict_peak_mb(artifact: Path, rows: Path, out: Path) -> float:
    """Peak resident memory of predicting a file, in MB."""
    words = ["predict", str(artifact), str(rows), "--out", str(out), "--quiet"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1]) * 1024 / 1e6


def write_rows(path: Path, number: int) -> Path:
    filler = "nothing else to be said of it, " * 600  # 19 kB a row: large files of few rows
    with path.open("w", encoding="utf-8") as file:
        for i in range(number):
            file.write(json.dumps({"id": i, "text": f"parcel {i}", "note": filler}) + "\n")
    return path


def _peak_is_told() -> bool:
    status = Path("/proc/self/status")
    return status.is_file() and "VmHWM:" in status.read_text()


@pytest.mark.skipif(not _peak_is_told(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_file(
    task_rows: Callable[[str], Any], text_settings: TextSettings, tiny_pretrained: Pretrained, tmp_path: Path
) -> None:
    rows, roles = task_rows("text-classification")
    artifact = tmp_path / "artifact"
    make_artifact(make_task("text-classification", rows, roles, text_settings), rows, tiny_pretrained, artifact)
    peaks, megabytes = [], []
    for number in (1_000, 6_000):
        source = write_rows(tmp_path / f"{number}.jsonl", number)
        megabytes.append(source.stat().st_size / 1e6)
        out = tmp_path / f"{number}.predicted.jsonl"
        peaks.append(predict_peak_mb(artifact, source, out))
        with out.open(encoding="utf-8") as file:
            assert sum(1 for _ in file) == number
    # Allocators keep some of what they were once given; a reader that gathered rows would keep all of it.
    assert peaks[1] - peaks[0] < 0.4 * (megabytes[1] - megabytes[0]), (peaks, megabytes)
