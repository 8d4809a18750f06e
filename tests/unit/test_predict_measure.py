"""Measuring: the figures mean what they say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time

import pytest

from penjing.core.artifact import open_artifact
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.predict import process as module
from penjing.predict.measure import measure, measure_latency, measure_throughput
from penjing.predict.setup import Setup

ONE = Setup(threads=1)
TEXTS = ["Where is my parcel?", "退款多久到账？", "The tea tastes wonderful."]


def test_a_fresh_process_gives_every_figure(tiny_artifact):
    artifact = tiny_artifact("text-classification")
    events = []
    found = measure(artifact, TEXTS, setup=ONE, seconds=0.1, num_processes=2, listener=events.append)
    files = ["model.onnx", "task.json", "tokenizer.json"]
    assert found.size_mb == sum((artifact.path / name).stat().st_size for name in files) / 1e6
    assert 0 < found.p50_ms <= found.p95_ms
    assert found.load_ms > found.p50_ms
    assert found.rows_per_s > 1
    assert 20 < found.peak_ram_mb < 1000
    assert (found.num_threads, found.num_processes, found.concurrency, found.setup) == (1, 2, 1, ONE)
    assert json.loads(json.dumps(found.to_json())) == found.to_json()
    assert [event.done for event in events] == [1, 2]


def test_what_is_measured_is_the_artifact_that_was_opened(tiny_artifact, tmp_path):
    """Whoever asked for a signature asked it of this one, not of what lies there a moment later."""
    path = shutil.copytree(tiny_artifact("text-classification").path, tmp_path / "model")
    opened = open_artifact(path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"parent": "f" * 64}))
    with pytest.raises(ArtifactError, match=r"manifest\.json was changed while"):
        measure(opened, TEXTS, setup=ONE, seconds=0.05, num_processes=1)


def test_memory_is_that_of_the_fresh_process_not_of_its_parent(tiny_artifact):
    ballast = bytearray(b"x" * 500_000_000)
    found = measure(tiny_artifact("text-classification"), TEXTS, setup=ONE, seconds=0.05, num_processes=1)
    assert len(ballast) / 1e6 > found.peak_ram_mb


def test_rows_and_pairs_survive_the_way_to_the_process(tiny_artifact):
    pairs = [("Where is my parcel?", "包裹在哪里？"), {"left": "a", "right": "b\ud800"}]
    assert measure(tiny_artifact("text-pair"), pairs, seconds=0.05, num_processes=1).rows_per_s > 1


def test_latency_is_the_time_of_a_call_and_callers_overlap():
    under_way, most, lock = 0, 0, threading.Lock()

    def call(rows):
        nonlocal under_way, most
        assert len(rows) == 1
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.05)
        with lock:
            under_way -= 1

    found = measure_latency(call, TEXTS, concurrency=4, seconds=0.3)
    assert most == 4
    assert 50 <= found.p50_ms <= found.p95_ms
    assert found.concurrency == 4
    assert found.num_calls >= 20


def test_each_caller_makes_a_few_calls_however_slow_they_are():
    found = measure_latency(lambda rows: time.sleep(0.02), TEXTS, concurrency=2, seconds=0.0)
    assert found.num_calls == 40


def test_throughput_counts_rows_and_time_is_bounded():
    begin = time.perf_counter()
    found = measure_throughput(lambda rows: time.sleep(0.001 * len(rows)), TEXTS, seconds=0.3)
    assert 300 < found <= 1000
    assert time.perf_counter() - begin < 3


def test_a_process_that_does_not_end_is_given_up(tiny_artifact, monkeypatch):
    monkeypatch.setattr(module, "PROCESS_SECONDS", 0.05)
    with pytest.raises(CapabilityError, match="did not end"):
        measure(tiny_artifact("text-classification"), TEXTS, seconds=0.05, num_processes=1)


def test_a_process_that_fails_is_not_taken_for_a_measurement():
    done = subprocess.run(
        [sys.executable, "-m", "penjing.predict.fresh_process"], input="{}", capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert done.stdout == ""
