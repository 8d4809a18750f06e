"""Measuring what a prediction costs, where the system does not let it."""

import json
import os
import signal
import subprocess
import sys

import pytest

from penjing.core.events import ignore
from penjing.select import serving
from penjing.select.serving import Serving, measure_export
from penjing.select.stopwatch import Stopwatch
from tiny_artifacts import make_task

MEASURED = Serving(1.0, 2.0, 500.0, 1.0, 120.0, 100.0, "onnxruntime")


@pytest.fixture
def measure(task_rows, text_settings, tiny_pretrained, tmp_path, monkeypatch):
    """The cost of the tiny model, and what was said meanwhile; the machine is idle and the cache empty."""
    pytest.importorskip("torch")
    from penjing.train.config import TrainConfig

    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(serving, "machine_busy", lambda: False)
    rows, roles = task_rows("text-classification")
    task = make_task("text-classification", rows, roles, text_settings)
    settings = {"threads": 1, "concurrency": 1, "rows_per_s": 100.0}

    def measured(listener=ignore):
        watch = Stopwatch(60.0)
        return measure_export(
            task, rows, tiny_pretrained, TrainConfig(), num_rows=len(rows), **settings, watch=watch, listener=listener
        )

    return measured


@pytest.fixture
def exported(monkeypatch):
    """As if the processes that export and measure ended well."""
    monkeypatch.setattr(serving, "_in_process", lambda *arguments: "")
    monkeypatch.setattr(serving, "measure_directory", lambda *arguments, **more: MEASURED)


@pytest.mark.skipif(sys.platform == "win32", reason="processes end by signals elsewhere")
def test_a_killed_process_leaves_an_estimate_and_says_so(measure, monkeypatch):
    run = subprocess.run

    def killed(command, **settings):
        return run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"], **settings)

    monkeypatch.setattr(serving.subprocess, "run", killed)
    heard = []
    assert measure(heard.append).backend == "torch, corrected"
    assert [event.level for event in heard] == ["warning"]
    assert "signal 9 ended penjing.select.export_process" in heard[0].text and "memory runs out" in heard[0].text


@pytest.mark.usefixtures("exported")
def test_a_cache_that_cannot_be_written_costs_only_the_next_measurement(measure, tmp_path, monkeypatch):
    def refused(path, text):
        raise OSError(30, os.strerror(30))

    heard = []
    with monkeypatch.context() as patched:
        patched.setattr(serving, "write_atomic", refused)
        assert measure(heard.append) == MEASURED
    assert "Read-only file system" in heard[0].text and str(tmp_path / "cache") in heard[0].text
    measure()
    (kept,) = (tmp_path / "cache" / "serving").glob("*.json")
    assert Serving(**json.loads(kept.read_text(encoding="utf-8"))) == MEASURED


@pytest.mark.usefixtures("exported")
def test_figures_of_another_number_of_threads_are_not_taken_from_the_cache(measure, tmp_path, monkeypatch):
    monkeypatch.setattr("penjing.core.runtime.physical_cores", lambda: 8)
    for threads in ("1", "2", "1"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        measure()
    assert len(list((tmp_path / "cache" / "serving").glob("*.json"))) == 2
