"""An artifact's model as files for another program, each compared with what it was made from.

The reference is the torch model, where the artifact keeps its weights, else the artifact as onnxruntime runs it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core import registry
from penjing.core.artifact import Artifact, write_atomic
from penjing.core.errors import ArtifactError, DataError
from penjing.core.task import Batch, Outputs, Row, Task
from penjing.predict.backend import Runner
from penjing.predict.onnx_backend import OnnxBackend
from penjing.predict.openvino_backend import import_openvino
from penjing.predict.openvino_integers import narrow_hashes
from penjing.predict.predictor import Predictor
from penjing.predict.task_file import MODEL_FILE, WEIGHTS

FORMATS = ("onnx", "openvino")
_BATCH = 32
TORCH_MODEL = "the torch model"
OWN_FILE, COPIED = "the artifact's own file on onnxruntime", "the file that it is a copy of"


@dataclass(frozen=True)
class Exported:
    """What was written and how far it is from its source.

    Args:
        files: names in the directory.
        reference: what it was compared with.
        rows: rows compared.
        max_difference: greatest absolute difference of any output.
        num_flipped: rows that are answered otherwise.
    """

    files: tuple[str, ...]
    reference: str
    rows: int
    max_difference: float
    num_flipped: int

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def export_files(artifact: Artifact, to: str, out: Path, rows: Sequence[Row], tolerance: float) -> Exported:
    """Write the files predicting needs, the model in another format, and `parity.json`.

    Args:
        artifact: a verified artifact.
        to: one of `FORMATS`.
        out: a directory that is not there yet; it is there only when everything is in it.
        rows: to compare on.
        tolerance: greatest difference of any output.

    Raises:
        DataError: `out` exists, or there is no row.
        ArtifactError: the difference is above the tolerance; nothing is left at `out`.
        MissingExtraError: the format's library is not installed.
    """
    if out.exists():
        raise DataError("exists already", where=str(out), next_step="give a directory that is not there yet")
    if not rows:
        raise DataError("there is no row to compare on", where=str(artifact.path), next_step="give rows: --data FILE")
    part = out.with_name(f"{out.name[:40]}.{secrets.token_hex(8)}.part")
    part.mkdir(parents=True)
    try:
        files = _write(artifact, to, part)
        parity = _compare(artifact, to, part, rows)
        if not parity.max_difference <= tolerance:
            raise ArtifactError(
                f"the export differs from {parity.reference} by {parity.max_difference:.2g} (tolerance {tolerance:g})",
                where=str(artifact.path),
                next_step="raise --tolerance if that is acceptable: an 8-bit model rounds otherwise in each library",
            )
        write_atomic(part / "parity.json", json.dumps(parity.to_json(), indent=1) + "\n")
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return replace(parity, files=(*files, "parity.json"))


def _write(artifact: Artifact, to: str, directory: Path) -> list[str]:
    """Everything predicting needs but the model as it is; the model in the format."""
    names = [str(name) for name in artifact.manifest["capabilities"]["predict_files"]]
    for name in names:
        shutil.copyfile(artifact.file(name), directory / name)
    if to == "onnx":
        return names
    openvino = import_openvino()
    written = [name for name in names if not name.endswith(".onnx")]
    for name in names:
        if name.endswith(".onnx"):
            model = openvino.Core().read_model(str(directory / name))
            narrow_hashes(model, openvino)  # what it cannot is refused when the export is opened to be compared
            openvino.save_model(model, str(directory / name.replace(".onnx", ".xml")), compress_to_fp16=False)
            (directory / name).unlink()
            written += [name.replace(".onnx", ".xml"), name.replace(".onnx", ".bin")]
    return sorted(written)


def _compare(artifact: Artifact, to: str, directory: Path, rows: Sequence[Row]) -> Exported:
    """Each model that was written beside the one it came from, on every row."""
    task = Predictor(artifact).task
    names = [str(name) for name in artifact.manifest["capabilities"]["predict_files"] if name.endswith(".onnx")]
    worst, flipped, labels = 0.0, np.zeros(len(rows), bool), []
    for name in names:
        reference, label = _source(artifact, name, task)
        # What is copied as it is gives the same; that it does says that the file can be opened, and no more.
        labels.append(COPIED if to == "onnx" and label == OWN_FILE else label)
        found = _opened(name, to, directory, task)
        for start in range(0, len(rows), _BATCH):
            batch = task.encode(rows[start : start + _BATCH])
            answers, outputs = zip(*(_answered(task, runner, batch) for runner in (reference, found)), strict=True)
            for one, other in zip(*outputs, strict=True):
                for output, values in one.items():
                    worst = float(np.maximum(worst, np.abs(values - other[output]).max()))
            flipped[start : start + _BATCH] |= [a != b for a, b in zip(*answers, strict=True)]
    return Exported((), " and ".join(dict.fromkeys(labels)), len(rows), worst, int(flipped.sum()))


def _answered(task: Task, runner: Runner, batch: Batch) -> tuple[list[Any], list[Outputs]]:
    """(what the task makes of a batch, what the model gave for it; of a long text several times)."""
    outputs: list[Outputs] = []

    def noted(given: Batch) -> Outputs:
        outputs.append(runner.run(given))
        return outputs[-1]

    return [prediction.value for prediction in task.predict(noted, batch)], outputs


def _source(artifact: Artifact, name: str, task: Task) -> tuple[Runner, str]:
    """What a model's file was made from, as far as the artifact keeps it, and what that is called."""
    if name == MODEL_FILE and WEIGHTS in artifact.manifest["files"]:
        backend: Any = registry.resolve("backends", "torch")
        return backend.open(artifact, task.signature, None), TORCH_MODEL
    return OnnxBackend.open_file(artifact.file(name), task.signature, None), OWN_FILE


def _opened(name: str, to: str, directory: Path, task: Task) -> Runner:
    """A written file as it will be run."""
    backend: Any = registry.resolve("backends", "onnxruntime" if to == "onnx" else "openvino")
    file = name if to == "onnx" else name.replace(".onnx", ".xml")
    return backend.open_file(directory / file, task.signature, None)
