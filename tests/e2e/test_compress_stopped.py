"""`penjing compress` killed in the middle of a search, or on a full disk: it says so, and goes on when called again."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import rows_for
from penjing.core.artifact import open_artifact
from penjing.models.pretrained import Pretrained
from penjing.pipeline.run import train

pytestmark = pytest.mark.slow

WORDS = ["--budget", "drop=100", "--goal", "size", "--minutes", "1", "--json", "--set", "compress.altered=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_pretrained: Pretrained) -> Path:
    """A run on some messages."""
    directory = tmp_path_factory.mktemp("trained")
    with (directory / "messages.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["text", "label"])
        for ending in ("", " Please answer.", " Thanks!", "！"):
            writer.writerows((row["text"] + ending, row["label"]) for row in rows_for("text-classification")[0])
    overrides = {"model": str(tiny_pretrained.directory), "train.epochs": 6, "evaluate.resamples": 200}
    return train(directory / "messages.csv", out=directory / "run", overrides=overrides).path


def start(trained: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "penjing", "compress", str(trained), "--out", str(out), *WORDS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def manifests(out: Path) -> set[Path]:
    """Of the models that a search has made so far."""
    return set(out.with_name(f"{out.name}.partial").rglob("manifest.json"))


def test_killed_in_the_middle_of_a_search_it_goes_on(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    process = start(trained, out)
    until = time.monotonic() + 120
    while len(manifests(out)) < 3 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    made = {path: path.stat().st_mtime_ns for path in manifests(out)}
    assert process.returncode == -signal.SIGKILL and len(made) >= 3, err
    assert not out.exists()

    again = start(trained, out)
    document, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    assert "going on with the interrupted search" in err
    assert json.loads(document)["report"]["compression"]["tried"]
    assert open_artifact(out).manifest["parent"] == open_artifact(trained).digest
    assert not manifests(out)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_is_named_and_nothing_half_made_is_left(trained: Path, small_disk: Callable[[int], Path]) -> None:
    out = small_disk(1) / "small"
    process = start(trained, out)
    printed, err = process.communicate(timeout=240)
    assert process.returncode == 2, err
    document = json.loads(printed)
    assert "the disk is full" in document["what"] and "free some space" in document["next_step"], document
    assert "Traceback" not in err and not out.exists()
