"""OpenVINO on the CPU: often quicker than onnxruntime for many rows, and in bf16 where the processor has it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from penjing.core import packed
from penjing.core.artifact import Artifact
from penjing.core.errors import CapabilityError, MissingExtraError
from penjing.core.runtime import usable_threads
from penjing.core.task import Batch, Outputs, Signature, TensorSpec
from penjing.core.telemetry import without_telemetry
from penjing.predict.openvino_integers import narrow_hashes
from penjing.predict.setup import Precision
from penjing.predict.signature import check_signature
from penjing.predict.task_file import MAX_MODEL_BYTES, MODEL_FILE

if TYPE_CHECKING:
    import openvino

_DTYPES = {"i64": "int64", "i32": "int32", "f32": "float32", "f64": "float64"}
_PRIMITIVES = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
_opening = Lock()
_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """A compiled model and its requests, one for each caller at the same time.

    Args:
        model: the compiled model.
        inputs: names it takes.
        outputs: names it is asked for.
        num_threads: threads of one run.
    """

    def __init__(self, model: openvino.CompiledModel, inputs: list[str], outputs: list[str], num_threads: int) -> None:
        self.model = model
        self.inputs = inputs
        self.outputs = outputs
        self.num_threads = num_threads
        self._idle: deque[openvino.InferRequest] = deque()

    @classmethod
    def open(
        cls,
        artifact: Artifact,
        signature: Signature,
        threads: int | None,
        precision: Precision = "fp32",
        workers: int = 1,
    ) -> Self:
        """Load `model.onnx`, check that it fits the task, and compile it for this processor.

        Raises:
            ArtifactError: no such file, or of another signature.
            CapabilityError: OpenVINO cannot run the model, or this processor has no instructions for the precision.
            MissingExtraError: OpenVINO is not installed.
        """
        return cls.open_file(artifact.file(MODEL_FILE), signature, threads, precision, workers)

    @classmethod
    def open_file(
        cls, path: Path, signature: Signature, threads: int | None, precision: Precision = "fp32", workers: int = 1
    ) -> Self:
        """Load a file that was checked already, ONNX or OpenVINO's own; raises as `open`."""
        library = import_openvino()
        num_threads = threads or usable_threads()
        core = library.Core()
        given = packed.unpack(path, MAX_MODEL_BYTES) if packed.is_packed(path) else str(path)
        try:
            model = core.read_model(given)
        except Exception as error:  # its front ends raise classes of their own, which share no base but this one
            raise _cannot_run(library, path, error) from error
        if not narrow_hashes(model, library):
            raise CapabilityError(
                "the model computes in integers of 64 bits, which OpenVINO would cut to 32",
                where=str(path),
                expected="no remainders of them but those of n-grams",
                next_step="run it on onnxruntime",
            )
        names = [{spec.name for spec in specs} for specs in (signature.inputs, signature.outputs)]
        inputs, outputs = _specs(model.inputs, names[0]), _specs(model.outputs, names[1])
        check_signature(inputs, outputs, signature, path)
        try:
            compiled = core.compile_model(model, "CPU", _settings(num_threads, precision, workers))
            with _few_primitives():
                compiled.create_infer_request().infer({spec.name: _ones(spec) for spec in inputs})
        except RuntimeError as error:
            raise _cannot_run(library, path, error) from error
        if precision != "fp32" and compiled.get_property("INFERENCE_PRECISION_HINT") != library.Type.bf16:
            raise CapabilityError(
                f"this processor has no instructions for {precision}, which OpenVINO would ignore without a word",
                expected="fp32",
            )
        return cls(compiled, [spec.name for spec in inputs], [spec.name for spec in signature.outputs], num_threads)

    def run(self, batch: Batch) -> Outputs:
        """One batch through the model; arrays the model does not take are left out."""
        try:
            request = self._idle.pop()
        except IndexError:  # as many callers at the same time as never before
            request = self.model.create_infer_request()
        try:
            request.infer({name: np.ascontiguousarray(batch[name]) for name in self.inputs})
            # A copy: the request keeps its memory, and the next run writes there.
            return {name: np.array(request.get_tensor(name).data) for name in self.outputs}
        finally:
            self._idle.append(request)


def import_openvino() -> Any:
    """The library, which need not be there and tells nobody that it is used.

    Raises:
        MissingExtraError: not installed.
    """
    try:
        with without_telemetry():
            import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise
        raise MissingExtraError("openvino", "openvino") from None
    return openvino


def _settings(num_threads: int, precision: Precision, workers: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "LATENCY",
        # A stream runs one batch at a time, so that workers on one of them would wait for each other.
        "NUM_STREAMS": workers,
        "INFERENCE_NUM_THREADS": num_threads * workers,
        # Said even for fp32: processors with bf16 instructions use them unless told otherwise.
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        # Two predicting processes on one machine would both be pinned to its first cores.
        "ENABLE_CPU_PINNING": False,
        # Every new shape has kernels made for it, 0.8 MB of them for a BERT of any depth, and 5,000 would be kept.
        "CPU_RUNTIME_CACHE_CAPACITY": 256,
    }


@contextmanager
def _few_primitives() -> Iterator[None]:
    """Have the oneDNN inside of OpenVINO keep 128 primitives instead of 1,024; it reads this when it makes its first.

    1,501 shapes of batches through a BERT of 2 layers, 64 wide: 1,285 MB as it comes, 393 MB with both bounds.
    """
    with _opening:
        if _PRIMITIVES in os.environ:
            yield
            return
        os.environ[_PRIMITIVES] = "128"
        try:
            yield
        finally:
            del os.environ[_PRIMITIVES]


def _ones(spec: TensorSpec) -> np.ndarray:
    """The smallest input of this shape that is like a real one: one row, of two tokens where it has any."""
    sizes = [size if isinstance(size, int) else 1 if axis == 0 else 2 for axis, size in enumerate(spec.shape)]
    return np.ones(sizes, spec.dtype)


def _specs(ports: Iterable[Any], wanted: set[str]) -> list[TensorSpec]:
    """Tensors as OpenVINO describes them, in our words; one may have several names, of which the wanted one counts."""
    found = []
    for port in ports:
        names = sorted(port.get_names())
        name = next((name for name in names if name in wanted), names[0] if names else "")
        sizes = port.get_partial_shape()
        known = [] if sizes.rank.is_dynamic else ["any" if size.is_dynamic else size.get_length() for size in sizes]
        dtype = port.get_element_type().get_type_name()
        found.append(TensorSpec(name, tuple(known), _DTYPES.get(dtype, dtype)))
    return found


def _cannot_run(library: ModuleType, path: Path, error: Exception) -> CapabilityError:
    version = str(library.__version__).partition("-")[0]
    detail = " ".join(str(error).split())[:300]
    return CapabilityError(
        f"OpenVINO {version} cannot run the model: {detail}",
        where=str(path),
        next_step="use the backend onnxruntime",
    )
