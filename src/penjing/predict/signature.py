"""Whether a loaded model fits the task: the same question whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penjing.core.errors import ArtifactError
from penjing.core.task import Signature, TensorSpec


def check_signature(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], wanted: Signature, path: Path) -> None:
    """Compare what a model takes and gives with what the task gives and takes.

    Args:
        inputs: of the model; it may leave out what the task gives.
        outputs: of the model; it may give more than the task takes.
        wanted: the task's.
        path: of the model, for the message.

    Raises:
        ArtifactError: the model wants an input that the task does not give, lacks an output, or has a tensor of
            another type or shape.
    """
    given = {spec.name: spec for spec in wanted.inputs}
    for entry in inputs:
        if entry.name not in given:
            raise ArtifactError(
                f"the model wants an input {entry.name!r} that the task does not give",
                where=str(path),
                expected=f"only {sorted(given)}",
            )
        _check_tensor(entry, given[entry.name], path)
    found = {entry.name: entry for entry in outputs}
    for spec in wanted.outputs:
        if spec.name not in found:
            raise ArtifactError(
                f"the model has no output {spec.name!r}", where=str(path), expected=f"one of {sorted(found)}"
            )
        _check_tensor(found[spec.name], spec, path)


def _check_tensor(entry: TensorSpec, spec: TensorSpec, path: Path) -> None:
    """A dimension may vary where the task fixes it (the exporter need not know), but two fixed ones must agree."""
    fixed = [
        (have, want)
        for have, want in zip(entry.shape, spec.shape, strict=False)
        if isinstance(have, int) and have != want
    ]
    if entry.dtype != spec.dtype or len(entry.shape) != len(spec.shape) or fixed:
        raise ArtifactError(
            f"tensor {spec.name!r} is {entry.dtype} {list(entry.shape)} in the model",
            where=str(path),
            expected=f"{spec.dtype} {list(spec.shape)}",
        )
