"""onnxruntime on the CPU: the backend every installation has."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np

from penjing.core import packed
from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError
from penjing.core.runtime import usable_threads
from penjing.core.task import Batch, Outputs, Signature, TensorSpec
from penjing.core.telemetry import without_telemetry
from penjing.predict.backend import require_fp32
from penjing.predict.setup import Precision
from penjing.predict.signature import check_signature
from penjing.predict.task_file import MAX_MODEL_BYTES, MODEL_FILE

with without_telemetry():
    import onnxruntime

_DTYPES = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32", "tensor(double)": "float64"}
_ERRORS_ONLY = 3
# Adding before normalising in one step takes 6.4 ns a number where the two steps take 1.5 (1.32, AVX2): a quarter of
# what a small encoder costs in 8 bits.
_NOT_FUSED = ["SkipLayerNormFusion"]


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
    def open(
        cls,
        artifact: Artifact,
        signature: Signature,
        threads: int | None,
        precision: Precision = "fp32",
        workers: int = 1,
    ) -> Self:
        """Load `model.onnx` and check that it fits the task.

        Raises:
            ArtifactError: no such file, not a model, or of another signature.
            CapabilityError: another precision than fp32; or `threads` is None, and OMP_NUM_THREADS is set and no
                number of threads.
        """
        require_fp32("onnxruntime", precision)
        return cls.open_file(artifact.file(MODEL_FILE), signature, threads)

    @classmethod
    def open_file(cls, path: Path, signature: Signature, threads: int | None) -> Self:
        """Load an ONNX file that was checked already, and see that it fits the task.

        Raises:
            ArtifactError: not a model, or of another signature.
            CapabilityError: as `open`.
        """
        num_threads = threads or usable_threads()
        session = open_session(path, num_threads)
        check_signature(_specs(session.get_inputs()), _specs(session.get_outputs()), signature, path)
        return cls(session, [spec.name for spec in signature.outputs], num_threads)

    def run(self, batch: Batch) -> Outputs:
        """One batch through the model; arrays the model does not take are left out."""
        feed = {name: np.ascontiguousarray(batch[name]) for name in self.inputs}
        return dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))


def open_session(path: Path, num_threads: int) -> onnxruntime.InferenceSession:
    """Load an ONNX file, which may be packed, set up as predicting needs it.

    Raises:
        ArtifactError: not a model that this onnxruntime runs.
    """
    onnxruntime.disable_telemetry_events()  # what Windows' own tracing collects, which no variable prevents
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    # The arena keeps what the largest batch ever needed and never gives it back, and every new shape adds a memory
    # pattern; shapes vary with each batch here, so both only grow.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    model = packed.unpack(path, MAX_MODEL_BYTES) if packed.is_packed(path) else str(path)
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=_NOT_FUSED
        )
    except Exception as error:  # onnxruntime's classes share no base but this one
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model: {detail}",
            where=str(path),
            next_step="upgrade onnxruntime, or restore the artifact from a good copy",
        ) from error


def _specs(entries: Iterable[onnxruntime.NodeArg]) -> list[TensorSpec]:
    """Tensors as onnxruntime describes them, in our words."""
    return [TensorSpec(entry.name, tuple(entry.shape), _DTYPES.get(entry.type, entry.type)) for entry in entries]
