"""The trained model as one ONNX file, compared row by row with the torch model it came from."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.errors import ArtifactError, CapabilityError, MissingExtraError
from penjing.core.task import Batch, Row, Signature, Task
from penjing.predict.onnx_backend import open_session
from penjing.train.batching import cut
from penjing.train.validation import runner


@dataclass(frozen=True)
class Parity:
    """How far an export is from its source.

    Args:
        rows: rows compared.
        max_difference: greatest absolute difference of any output.
    """

    rows: int
    max_difference: float


class _Positional(nn.Module):
    """A model that takes its inputs by position, as the exporter wants them."""

    def __init__(self, model: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.model = model
        self.inputs = [spec.name for spec in signature.inputs]
        self.outputs = [spec.name for spec in signature.outputs]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the signature's order → outputs in the signature's order."""
        found = self.model(dict(zip(self.inputs, tensors, strict=True)))
        return tuple(found[name] for name in self.outputs)


def export_onnx(model: nn.Module, task: Task, rows: list[Row], path: Path, *, opset: int = 18) -> None:
    """Write `model` as ONNX.

    Args:
        model: in 32 bits (a frozen vocabulary may have 16); `forward(batch)` returns the signature's outputs by name.
        task: gives the signature and encodes the example.
        rows: at least one row, from which the example is encoded where the model has to be traced.
        path: where to write; weights are inside the one file.
        opset: ONNX operator set.

    Raises:
        CapabilityError: the architecture cannot be exported.
        MissingExtraError: onnx is not installed.
    """
    try:
        from penjing.export.bert_graph import can_write, write_bert
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise MissingExtraError("onnx", "train") from None
    model = model.cpu().eval()
    if can_write(model):
        write_bert(model, task.signature, path, opset=opset)
    else:
        trace_onnx(model, task, rows, path, opset=opset)


def trace_onnx(model: nn.Module, task: Task, rows: list[Row], path: Path, *, opset: int = 18) -> None:
    """As `export_onnx`, for any architecture: torch follows one example through the model.

    Raises:
        CapabilityError: the architecture cannot be exported.
    """
    signature = task.signature
    example = _example(task, rows)
    arguments = tuple(torch.from_numpy(example[spec.name]) for spec in signature.inputs)
    dimensions = {
        name: torch.export.Dim(name, min=1 if name == "batch" else 2, max=2**20 if name == "batch" else 2**16)
        for spec in signature.inputs
        for name in spec.shape
        if isinstance(name, str)
    }
    shapes = tuple(
        {axis: dimensions[name] for axis, name in enumerate(spec.shape) if isinstance(name, str)}
        for spec in signature.inputs
    )
    positional = _Positional(model.cpu().eval(), signature).eval()
    try:
        with _quiet():
            torch.onnx.export(
                positional,
                arguments,
                path,
                input_names=[spec.name for spec in signature.inputs],
                output_names=[spec.name for spec in signature.outputs],
                dynamic_shapes=(shapes,),
                opset_version=opset,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise CapabilityError(
            f"this model cannot be exported to ONNX: {reason}",
            next_step="choose another pretrained model (penjing models)",
        ) from error


def check_parity(model: nn.Module, task: Task, rows: list[Row], path: Path, tolerance: float) -> Parity:
    """Compare every output of the export with torch's, on real rows.

    Raises:
        ArtifactError: a difference above the tolerance, or another shape; the export must not be used.
    """
    assert rows, "no rows to compare: parity over nothing proves nothing"
    session = open_session(path, torch.get_num_threads())
    reference = runner(model.eval(), "cpu")
    names = [spec.name for spec in task.signature.outputs]
    worst = 0.0
    lengths = task.lengths(rows)
    # Alike in length, for torch is slow in 32 bits and padding is half of a batch drawn at random.
    batches = cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=32, batch_tokens=4096)
    batches.append(_unlike(lengths))  # and two of unlike length, or the export might ignore the mask
    for places in batches:
        batch = task.encode([rows[i] for i in places])
        with torch.no_grad():
            expected = reference(batch)
        feed = {spec.name: batch[spec.name] for spec in task.signature.inputs}
        for name, found in zip(names, session.run(names, feed), strict=True):
            if found.shape != expected[name].shape:
                raise ArtifactError(
                    f"the export's {name} has shape {found.shape}, torch's {expected[name].shape}", where=str(path)
                )
            # Not `max`: it would pass over a difference that is not a number.
            worst = float(np.maximum(worst, np.abs(found - expected[name]).max()))
    if not worst <= tolerance:
        raise ArtifactError(
            f"the export differs from the trained model by {worst:.2g} (tolerance {tolerance:g})",
            where=str(path),
            next_step="report this model; meanwhile raise export.tolerance if the difference is acceptable",
        )
    return Parity(len(rows), worst)


def _example(task: Task, rows: list[Row]) -> Batch:
    """Two encoded rows of unlike length: the exporter sees padding, and specialises on neither 1 nor equal sizes."""
    return task.encode([rows[i] for i in _unlike(task.lengths(rows))])


def _unlike(lengths: np.ndarray) -> np.ndarray:
    """Positions of the longest and the shortest row."""
    return np.array([np.argmax(lengths), np.argmin(lengths)])


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of optional packages and of its own internals; none of it is for the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
