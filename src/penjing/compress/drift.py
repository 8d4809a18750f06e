"""How far a rewritten model's answers are from its source's, on real rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.errors import ArtifactError
from penjing.core.task import Batch, Outputs, Row, Table, Task
from penjing.core.telemetry import without_telemetry
from penjing.predict.onnx_backend import open_session
from penjing.train.batching import cut

with without_telemetry():
    import onnxruntime

# A score below this says "never" (`train/gradient/tokens.py`), and is no measure of how widely scores vary.
_NEVER = -1000.0


@dataclass(frozen=True)
class Drift:
    """Distances between two models' answers.

    Of probabilities of classes, half the sum of their differences (total variation); of probabilities of labels, the
    greatest difference; of other outputs, a quarter of the root mean square of the differences in standard deviations
    of the output, for a score moves a probability by a quarter of its own difference at most.

    Args:
        rows: compared; of long texts, windows.
        mean: over the rows.
        max: over the rows.
    """

    rows: int
    mean: float
    max: float

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {"rows": self.rows, "mean": round(self.mean, 6), "max": round(self.max, 6)}


def sample(table: Table, count: int, seed: int) -> list[Row]:
    """So many rows at random, all where there are fewer."""
    chosen = np.random.default_rng([seed, count]).permutation(len(table))[:count]
    return [table.rows[i] for i in np.sort(chosen)]


def feeds(task: Task, rows: Sequence[Row], *, batch_tokens: int = 1024) -> list[Batch]:
    """What the model takes, rows of like length together, so that next to nothing is padding.

    Args:
        task: encodes.
        rows: at least one.
        batch_tokens: of one batch, which bounds the memory of a run; a long text may be several rows of it.
    """
    names = [spec.name for spec in task.signature.inputs]
    lengths = task.lengths(rows)
    found = []
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=32, batch_tokens=batch_tokens):
        batch = task.encode([rows[i] for i in places])
        size = batch[names[0]][0].size
        step = max(1, batch_tokens // max(1, size))
        for start in range(0, len(batch[names[0]]), step):
            found.append({name: np.ascontiguousarray(batch[name][start : start + step]) for name in names})
    return found


class Reference:
    """What a model says of some rows, for others to be compared with.

    Args:
        task: says which outputs are probabilities.
        batches: the rows.
        path: the model.
        threads: of one run.
    """

    def __init__(self, task: Task, batches: list[Batch], path: Path, threads: int) -> None:
        self.task = task
        self.batches = batches
        self.threads = threads
        self.names = [spec.name for spec in task.signature.outputs]
        session = open_session(path, threads)
        self.outputs = [run(session, self.names, batch, path) for batch in batches]
        self.spreads = {name: _spread([outputs[name] for outputs in self.outputs]) for name in self.names}

    def compare(self, path: Path) -> Drift:
        """Run another model on the same rows.

        Raises:
            ArtifactError: it cannot be run, or gives what is no answer.
        """
        return self.compare_session(open_session(path, self.threads), path, {})

    def compare_session(self, session: onnxruntime.InferenceSession, path: Path, more: Batch, limit: int = 0) -> Drift:
        """As `compare`, of a loaded model, with further inputs and on the first `limit` batches (0: all)."""
        distances = []
        for batch, expected in list(zip(self.batches, self.outputs, strict=True))[: limit or None]:
            found = run(session, self.names, {**batch, **more}, path)
            for name in self.names:
                if found[name].shape != expected[name].shape:
                    raise ArtifactError(
                        f"the compressed model's {name} has shape {found[name].shape}, not {expected[name].shape}",
                        where=str(path),
                        next_step="leave this step out for this model",
                    )
            distances.append(self._distances(expected, found))
        all_distances = np.concatenate(distances)
        if not np.isfinite(all_distances).all():
            raise ArtifactError(
                "the compressed model's answers are not numbers",
                where=str(path),
                next_step="leave this step out for this model",
            )
        return Drift(len(all_distances), float(all_distances.mean()), float(all_distances.max()))

    def _distances(self, expected: Outputs, found: Outputs) -> np.ndarray:
        """[B]."""
        first = self.names[0]
        if self.task.calibration is not None:
            squash = _softmax if self.task.calibration == "softmax" else _sigmoid
            old, new = (squash(outputs[first] / self.task.temperature) for outputs in (expected, found))
            difference = np.abs(old - new)
            apart = difference.sum(-1) / 2 if squash is _softmax else difference.max(-1)
            return apart.reshape(len(apart), -1).max(1)
        return np.max([_root_mean_square(expected[n], found[n], self.spreads[n]) for n in self.names], axis=0)


def run(session: onnxruntime.InferenceSession, names: list[str], batch: Batch, path: Path) -> Outputs:
    """One batch through a model.

    Raises:
        ArtifactError: onnxruntime loads the model but cannot run it.
    """
    try:
        return dict(zip(names, session.run(names, batch), strict=True))
    except Exception as error:  # onnxruntime's classes share no base but this one
        detail = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"onnxruntime {onnxruntime.__version__} cannot run the model: {detail}",
            where=str(path),
            next_step="leave this step out for this model",
        ) from error


def _spread(outputs: list[np.ndarray]) -> float:
    values = np.concatenate([output[output > _NEVER].reshape(-1) for output in outputs])
    found = float(values.std()) if len(values) else 0.0
    return found or 1.0


def _root_mean_square(expected: np.ndarray, found: np.ndarray, spread: float) -> np.ndarray:
    real = expected > _NEVER
    square = np.where(real, (found - expected) / spread, 0) ** 2
    flat = (len(expected), -1)
    return 0.25 * np.sqrt(square.reshape(flat).sum(1) / np.maximum(real.reshape(flat).sum(1), 1))


def _softmax(scores: np.ndarray) -> np.ndarray:
    risen = np.exp(scores - scores.max(-1, keepdims=True))
    return risen / risen.sum(-1, keepdims=True)


def _sigmoid(scores: np.ndarray) -> np.ndarray:
    return (np.tanh(scores / 2) + 1) / 2
