"""Where a figure comes from: the machine, its libraries, and the commit that was measured."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penjing.evaluate.hardware import describe_hardware

ROOT = Path(__file__).resolve().parent.parent
_TRAIN = ("config", "defaults", "direct/config", "head_start", "method")
_DEFAULTS = ("src/penjing/data/config.py", *(f"src/penjing/train/{name}.py" for name in _TRAIN))


def environment() -> dict[str, Any]:
    """The machine, its libraries, and the commit at which the default settings last changed."""
    frozen = _git("log", "-1", "--format=%H %cI", "--", *_DEFAULTS)
    return {**describe_hardware().model_dump(mode="json"), "defaults_commit": frozen}


def source_state() -> dict[str, Any]:
    """The commit being measured, whether its files are as committed, and the time."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    clean = not _git("status", "--porcelain", "--", "src", "benchmarks")
    return {"commit": _git("rev-parse", "HEAD"), "clean": clean, "finished": now}


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
