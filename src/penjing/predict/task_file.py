"""A task on disk: `task.json` with its kind and state, and beside it the files it needs (a tokenizer, ...)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from penjing.core import registry
from penjing.core.artifact import write_atomic
from penjing.core.errors import ArtifactError
from penjing.core.packed import stored
from penjing.core.task import Task

TASK_FILE = "task.json"
MODEL_FILE = "model.onnx"
CERTIFICATE_FILE = "certificate.json"
# Of what learned by gradient descent, for whoever makes another model from it; predicting needs neither.
WEIGHTS = "weights.safetensors"
ENCODER_CONFIG = "encoder.json"
MAX_TASK_BYTES = 64_000_000
MAX_MODEL_BYTES = 2_000_000_000  # of a packed model; ONNX has no larger ones in one file


def predict_files(task: Task, directory: Path | None = None) -> list[str]:
    """Names of all files that shape the predictions of an artifact of this task; goes into its capabilities.

    Args:
        task: the artifact's.
        directory: where the artifact is being made: a certificate there, which says how the model is run, counts too,
            and what was packed there has another name.
    """
    names = [MODEL_FILE, TASK_FILE, *sorted(task.files())]
    if directory is None:
        return names
    certified = (directory / CERTIFICATE_FILE).is_file()
    return [*([CERTIFICATE_FILE] if certified else []), *(stored(directory / name).name for name in names)]


def write_task(task: Task, directory: Path) -> None:
    """Write `task.json` and copy the task's files into an artifact that is being made."""
    for name, source in task.files().items():
        assert Path(name).name == name, f"{name!r} is not a plain file name"
        if source.resolve() != (directory / name).resolve():
            shutil.copyfile(source, directory / name)
    state = {"kind": task.kind, "state": task.to_state()}
    write_atomic(directory / TASK_FILE, json.dumps(state, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_task(directory: Path) -> Task:
    """Inverse of `write_task`. Verify the files first (`open_artifact`).

    Raises:
        ArtifactError: missing, not JSON, of an unknown kind, or a state the task refuses.
    """
    path = directory / TASK_FILE
    if not path.is_file():
        raise ArtifactError(f"file {TASK_FILE!r} is missing", where=str(directory), next_step="copy it again")
    if path.stat().st_size > MAX_TASK_BYTES:
        raise ArtifactError(f"larger than {MAX_TASK_BYTES:,} bytes", where=str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind, state = str(content["kind"]), dict(content["state"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"is damaged ({type(error).__name__}: {error})", where=str(path)) from None
    if kind not in registry.table("tasks"):
        raise ArtifactError(
            f"holds a task of kind {kind!r}, which this installation does not know",
            where=str(path),
            expected="one of " + ", ".join(sorted(registry.table("tasks"))),
            next_step="install the package that brings this kind, or upgrade penjing",
        )
    try:
        task: Task = registry.resolve("tasks", kind).from_state(state, directory)
    except ArtifactError as error:
        raise ArtifactError(error.what, where=str(path), next_step="restore the artifact from a good copy") from None
    return task
