"""An artifact's model as files for another program, each compared with what it was made from.

The reference is the torch model, where the artifact keeps its weights, else the artifact as onnxruntime runs it.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core import packed, registry
from penjing.core.artifact import Artifact, write_atomic
from penjing.core.errors import ArtifactError, DataError
from penjing.core.task import Batch, Outputs, Row, Task
from penjing.predict.backend import Runner
from penjing.predict.cascade import FIRST_FILE, CascadeBackend, CascadeRule, read_rule
from penjing.predict.onnx_backend import OnnxBackend
from penjing.predict.openvino_backend import import_openvino
from penjing.predict.openvino_integers import narrow_hashes
from penjing.predict.predictor import Predictor
from penjing.predict.task_file import MAX_MODEL_BYTES, MODEL_FILE, WEIGHTS

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
    """Everything predicting needs but the model as it is, unpacked; the model in the format."""
    names = _names(artifact)
    for name in names:
        source = artifact.file(name)
        if packed.is_packed(source):
            (directory / name).write_bytes(packed.unpack(source, MAX_MODEL_BYTES))
        else:
            shutil.copyfile(source, directory / name)
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


def _names(artifact: Artifact) -> list[str]:
    """Files that predicting needs, under the names that they have where they are not packed."""
    return [str(name).removesuffix(packed.SUFFIX) for name in artifact.manifest["capabilities"]["predict_files"]]


def _compare(artifact: Artifact, to: str, directory: Path, rows: Sequence[Row]) -> Exported:
    """Each model that was written beside the one it came from, and what all of them answer together, on every row."""
    task = Predictor(artifact).task
    names = [name for name in _names(artifact) if name.endswith(".onnx")]
    sources = {name: _source(artifact, name, task) for name in names}
    before = {name: runner for name, (runner, _) in sources.items()}
    after = {name: _opened(name, to, directory, task) for name in names}
    # What is copied as it is gives the same; that it does says that the file can be opened, and no more.
    labels = [COPIED if to == "onnx" and label == OWN_FILE else label for _, label in sources.values()]
    rule = read_rule(artifact)
    worst, flipped = 0.0, 0
    for start in range(0, len(rows), _BATCH):
        batch = task.encode(rows[start : start + _BATCH])
        for name in names:
            for one, other in zip(*(_given(task, side[name], batch) for side in (before, after)), strict=True):
                for output, values in one.items():
                    worst = float(np.maximum(worst, np.abs(values - other[output]).max()))
        answers = [task.predict(_together(side, rule).run, batch) for side in (before, after)]
        flipped += sum(a.value != b.value for a, b in zip(*answers, strict=True))
    return Exported((), " and ".join(dict.fromkeys(labels)), len(rows), worst, flipped)


def _together(runners: Mapping[str, Runner], rule: CascadeRule | None) -> Runner:
    """One model, or the second behind the first."""
    return runners[MODEL_FILE] if rule is None else CascadeBackend(runners[FIRST_FILE], runners[MODEL_FILE], rule)


def _given(task: Task, runner: Runner, batch: Batch) -> list[Outputs]:
    """What a model gives for a batch; of a long text several times."""
    outputs: list[Outputs] = []

    def noted(given: Batch) -> Outputs:
        outputs.append(runner.run(given))
        return outputs[-1]

    task.predict(noted, batch)
    return outputs


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
