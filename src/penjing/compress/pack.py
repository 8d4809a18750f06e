"""The step that stores a finished model in fewer bytes: its files packed with gzip, and unpacked when it is opened.

What it answers stays the same to the last bit. It takes memory of the size of the unpacked file while loading, some
hundredths of a second, and that other programs unpack the model first, which `penjing export` does for them.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from penjing.compress.step import Method, StepConfig
from penjing.core import packed
from penjing.core.artifact import Artifact
from penjing.core.task import Task
from penjing.predict.cascade import CASCADE_FILE, FIRST_FILE
from penjing.predict.task_file import CERTIFICATE_FILE, MODEL_FILE, TASK_FILE

# Read before anything is known of a model, and small.
_AS_THEY_ARE = {TASK_FILE, CERTIFICATE_FILE, CASCADE_FILE}


class PackConfig(StepConfig):
    """Settings of `pack`: there are none."""

    method: Literal["pack"] = "pack"


def supports(task: Task) -> None:
    """Every task's models are files."""


def apply(config: PackConfig, parent: Artifact, stage: Path) -> dict[str, Any]:
    """Copy what predicting needs, packed.

    Args:
        config: has no settings.
        parent: not packed yet.
        stage: the new artifact's directory.

    Returns:
        Facts: bytes of these files before and after.
    """
    before = after = 0
    for name in parent.manifest["capabilities"]["predict_files"]:
        if name == CERTIFICATE_FILE:
            continue  # of the parent
        path = stage / name
        shutil.copyfile(parent.file(name), path)
        before += path.stat().st_size
        after += (path if name in _AS_THEY_ARE else packed.pack(path)).stat().st_size
    return {"bytes_before": before, "bytes_after": after}


def is_packed(artifact: Artifact) -> bool:
    """Whether an artifact was stored by this step."""
    return any(packed.is_packed(artifact.path / artifact.stored(name)) for name in (MODEL_FILE, FIRST_FILE))


METHOD = Method(PackConfig, supports, store=apply)
