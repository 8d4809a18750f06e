"""Runs the rows of a batch in groups of like length, so that a row's shape is its own and never its batch-mates'.

Kernels are chosen by shape: in 16 bits, or behind a rounding to 8, one row's answer moves with the padding that its
neighbours need. Where it is padded by its own length alone its answer is the same to the last bit.
"""

from __future__ import annotations

import numpy as np

from penjing.core.task import Batch, Outputs, Signature, TensorSpec
from penjing.predict.backend import Runner

_MASK = "attention_mask"
_AXIS = "length"


class LikeLengthRunner:
    """A runner behind another one.

    Args:
        runner: runs each group.
        signature: of the task, which says where the axes "length" are, and how long they may be.
        step: rows are padded to the next multiple of so many tokens.
    """

    def __init__(self, runner: Runner, signature: Signature, step: int) -> None:
        self.runner = runner
        self.signature = signature
        self.step = step
        self.num_threads = runner.num_threads

    def run(self, batch: Batch) -> Outputs:
        """Each group of rows by itself; the outputs are as long as the batch was."""
        lengths_B = batch[_MASK].sum(-1)
        if lengths_B.ndim > 1:  # the two texts of a pair, of which the longer counts
            lengths_B = lengths_B.max(1)
        rows, width = len(lengths_B), batch[_MASK].shape[-1]
        sizes_B = padded_lengths(lengths_B, self.step, self.signature.longest)
        sizes = np.unique(sizes_B) if rows else np.array([width])
        if len(sizes) == 1:
            return self._cut(self._run(batch, int(sizes[0])), width)
        outputs: dict[str, np.ndarray] = {}
        for size in sizes:
            places = np.flatnonzero(sizes_B == size)
            found = self._run({name: array[places] for name, array in batch.items()}, int(size))
            for name, values in self._cut(found, width).items():
                whole = outputs.setdefault(name, np.zeros((rows, *values.shape[1:]), values.dtype))
                whole[places] = values
        return outputs

    def _run(self, batch: Batch, size: int) -> Outputs:
        return self.runner.run({spec.name: _resized(batch[spec.name], spec, size) for spec in self.signature.inputs})

    def _cut(self, outputs: Outputs, width: int) -> Outputs:
        specs = {spec.name: spec for spec in self.signature.outputs}
        return {name: _resized(values, specs[name], width) for name, values in outputs.items()}


def has_lengths(signature: Signature) -> bool:
    """Whether rows may be of different length, and say so."""
    return signature.longest is not None and any(spec.name == _MASK for spec in signature.inputs)


def padded_lengths(lengths: np.ndarray, step: int, longest: int | None) -> np.ndarray:
    """Each length up to the next multiple of `step`, but never beyond `longest`, which a model may have no room for.

    Args:
        lengths: [N] tokens, none of them more than `longest`.
        step: at least 1.
        longest: None: as long as it gets.
    """
    up = -(-lengths.clip(min=1) // step) * step
    return up if longest is None else np.minimum(up, longest)


def _resized(array: np.ndarray, spec: TensorSpec, size: int) -> np.ndarray:
    """An array with all its axes "length" cut to a size, or filled up with zeros."""
    shape = tuple(size if name == _AXIS else have for name, have in zip(spec.shape, array.shape, strict=True))
    if shape == array.shape:
        return array
    made = np.zeros(shape, array.dtype)
    kept = tuple(slice(min(sizes)) for sizes in zip(shape, array.shape, strict=True))
    made[kept] = array[kept]
    return made
