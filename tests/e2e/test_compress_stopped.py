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


def watched(process: subprocess.Popen[str], made: dict[Path, int]) -> list[dict[Path, int]]:
    """When those files were changed last, looked at again and again until the first is gone or the process ends."""
    seen: list[dict[Path, int]] = []
    until = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < until:
        try:
            seen.append({path: path.stat().st_mtime_ns for path in made})
        except FileNotFoundError:
            break
        time.sleep(0.05)
    return seen


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
    seen = watched(again, made)
    document, err = again.communicate(timeout=240)
    assert again.returncode == 0, err
    # A model that was complete is neither made again nor touched, as long as there is anything of the search.
    assert seen and all(times == made for times in seen)
    assert "going on with the interrupted search" in err
    assert json.loads(document)["report"]["compression"]["tried"]
    assert open_artifact(out).manifest["parent"] == open_artifact(trained).digest
    assert not manifests(out)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_full_disk_is_named_and_nothing_half_made_is_left(trained: Path, small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(200)
    out, filler = disk / "small", disk / "filler"
    filler.write_bytes(b"x" * 208_000_000)
    process = start(trained, out)
    printed, err = process.communicate(timeout=240)
    assert process.returncode == 2, err
    document = json.loads(printed)
    assert "the disk is full" in document["what"] and "free some space" in document["next_step"], document
    assert "Traceback" not in err and not out.exists()
    filler.unlink()
    process = start(trained, out)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert open_artifact(out).manifest["parent"] == open_artifact(trained).digest
