"""onnxruntime on the CPU: the backend every installation has."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError
from penjing.core.runtime import usable_threads
from penjing.core.task import Batch, Outputs, Signature, TensorSpec
from penjing.predict.task_file import MODEL_FILE

_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32", "tensor(double)": "float64"}
_ERRORS_ONLY = 3


class OnnxBackend:
    """An onnxruntime session.

    Args:
        session: the loaded model.
        outputs: names it is asked for.
        num_threads: threads of one run.
    """

    def __init__(self, session: onnxruntime.InferenceSession, outputs: list[str], num_threads: int) -> None:
        self.session = session
        self.outputs = outputs
        self.num_threads = num_threads
        self.inputs = [entry.name for entry in session.get_inputs()]

    @classmethod
    def open(cls, artifact: Artifact, signature: Signature, threads: int | None) -> Self:
        """Load `model.onnx` and check that it fits the task.

        Raises:
            ArtifactError: no such file, not a model, or of another signature.
            CapabilityError: `threads` is None, and OMP_NUM_THREADS is set and no number of threads.
        """
        path = artifact.file(MODEL_FILE)
        num_threads = threads or usable_threads()
        session = open_session(path, num_threads)
        _check_inputs(session, signature, path)
        _check_outputs(session, signature, path)
        return cls(session, [spec.name for spec in signature.outputs], num_threads)

    def run(self, batch: Batch) -> Outputs:
        """One batch through the model; arrays the model does not take are left out."""
        feed = {name: np.ascontiguousarray(batch[name]) for name in self.inputs}
        return dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))


def open_session(path: Path, num_threads: int) -> onnxruntime.InferenceSession:
    """Load an ONNX file, set up as predicting needs it.

    Raises:
        ArtifactError: not a model that this onnxruntime runs.
    """
    onnxruntime.disable_telemetry_events()  # collected on Windows alone, unless told otherwise
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    # The arena keeps what the largest batch ever needed and never gives it back, and every new shape adds a memory
    # pattern; shapes vary with each batch here, so both only grow.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's classes share no base but this one
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model: {detail}",
            where=str(path),
            next_step="upgrade onnxruntime, or restore the artifact from a good copy",
        ) from error


def _check_inputs(session: onnxruntime.InferenceSession, signature: Signature, path: Path) -> None:
    given = {spec.name: spec for spec in signature.inputs}
    for entry in session.get_inputs():
        if entry.name not in given:
            raise ArtifactError(
                f"the model wants an input {entry.name!r} that the task does not give",
                where=str(path),
                expected=f"only {sorted(given)}",
            )
        _check_tensor(entry, given[entry.name], path)


def _check_outputs(session: onnxruntime.InferenceSession, signature: Signature, path: Path) -> None:
    found = {entry.name: entry for entry in session.get_outputs()}
    for spec in signature.outputs:
        if spec.name not in found:
            raise ArtifactError(
                f"the model has no output {spec.name!r}", where=str(path), expected=f"one of {sorted(found)}"
            )
        _check_tensor(found[spec.name], spec, path)


def _check_tensor(entry: onnxruntime.NodeArg, spec: TensorSpec, path: Path) -> None:
    """A dimension may vary where the task fixes it (the exporter need not know), but two fixed ones must agree."""
    dtype = _DTYPES.get(entry.type, entry.type)
    fixed = [
        (have, want)
        for have, want in zip(entry.shape, spec.shape, strict=False)
        if isinstance(have, int) and have != want
    ]
    if dtype != spec.dtype or len(entry.shape) != len(spec.shape) or fixed:
        raise ArtifactError(
            f"tensor {spec.name!r} is {dtype} {entry.shape} in the model",
            where=str(path),
            expected=f"{spec.dtype} {list(spec.shape)}",
        )
