"""Two models behind one backend: a cheap one answers the rows that it is sure of, the other the rest.

What the cheap one said of those is known by then and has a share in their answers: of two models that learned
differently each knows something that the other does not. A row's way depends on what the first model says of that row
alone, so it is the same whatever stands beside it, but for a row whose confidence lies within rounding (1e-6) of the
threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError
from penjing.core.task import Batch, Outputs, Row, Signature, Task
from penjing.predict.backend import Runner
from penjing.predict.onnx_backend import OnnxBackend

CASCADE_FILE, FIRST_FILE = "cascade.json", "first.onnx"
MAX_BYTES = 10_000
_MASK = "attention_mask"
_BATCH_ROWS = 64


class CascadeRule(BaseModel):
    """When the first model's answer stands."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    calibration: Literal["softmax", "sigmoid"] = Field(description="How logits become probabilities.")
    threshold: float = Field(ge=0, le=1, description="Least confidence of an answer that stands.")
    share: float = Field(0.0, ge=0, lt=1, description="Of the first model's logits in answers of the second.")

    def sure(self, logits_BC: np.ndarray) -> np.ndarray:
        """[B] bool: which answers stand."""
        return np.asarray(confidence(logits_BC, self.calibration) >= self.threshold)

    def mixed(self, first_BC: np.ndarray, rest_BC: np.ndarray) -> np.ndarray:
        """[B, C] logits of rows that the first model is not sure of."""
        return np.asarray((1 - self.share) * rest_BC + self.share * first_BC, rest_BC.dtype)


def confidence(logits_BC: np.ndarray, calibration: str) -> np.ndarray:
    """[B]: probability of the most probable class; of several labels, of the least certain yes or no."""
    if calibration == "sigmoid":
        return np.asarray((1 / (1 + np.exp(-np.abs(logits_BC.astype(np.float64))))).min(axis=1))
    shifted_BC = logits_BC.astype(np.float64) - logits_BC.max(axis=1, keepdims=True)
    return np.asarray(1 / np.exp(shifted_BC).sum(axis=1))


class CascadeBackend:
    """Runs the second model on the rows that the first is not sure of.

    Args:
        first: cheap.
        rest: dear.
        rule: whose answer stands.
    """

    def __init__(self, first: Runner, rest: Runner, rule: CascadeRule) -> None:
        self.first = first
        self.rest = rest
        self.rule = rule
        self.num_threads = rest.num_threads

    def run(self, batch: Batch) -> Outputs:
        """One batch through the first model, and what it is not sure of through the second."""
        outputs = self.first.run(batch)
        waiting = np.flatnonzero(~self.rule.sure(outputs["logits"]))
        if not len(waiting):
            return outputs
        width = int(batch[_MASK][waiting].sum(-1).max())
        given = {name: values[waiting][..., :width] for name, values in batch.items()}
        answers = self.second(given, outputs["logits"][waiting])
        if len(waiting) == len(outputs["logits"]):
            return answers
        for name, values in outputs.items():
            values[waiting] = answers[name]
        return outputs

    def second(self, batch: Batch, first_BC: np.ndarray) -> Outputs:
        """What becomes of rows that the first model is not sure of.

        Args:
            batch: of these rows.
            first_BC: logits of the first model.
        """
        outputs = self.rest.run(batch)
        return {**outputs, "logits": self.rule.mixed(first_BC, outputs["logits"])}

    def early(self, batch: Batch) -> np.ndarray:
        """[B] bool: which rows of a batch the first model answers."""
        return self.rule.sure(self.first.run(batch)["logits"])


def with_first_stage(artifact: Artifact, signature: Signature, rest: Runner) -> Runner:
    """The backend of an artifact: the one given, behind the artifact's first stage where it has one.

    The first stage is so small that it always runs on onnxruntime.

    Raises:
        ArtifactError: the first stage is damaged, or does not fit the task.
    """
    rule = read_rule(artifact)
    if rule is None:
        return rest
    first = OnnxBackend.open_file(artifact.file(FIRST_FILE), signature, rest.num_threads)
    return CascadeBackend(first, rest, rule)


def early_share(backend: Runner, task: Task, rows: Sequence[Row]) -> float | None:
    """Share of rows that a first stage answers; None where there is none.

    Args:
        backend: of the artifact.
        task: that encodes the rows.
        rows: at least one.
    """
    if not isinstance(backend, CascadeBackend):
        return None
    starts = range(0, len(rows), _BATCH_ROWS)
    early = [backend.early(task.encode(rows[start : start + _BATCH_ROWS])) for start in starts]
    return float(np.concatenate(early).mean())


def read_rule(artifact: Artifact) -> CascadeRule | None:
    """The rule of an artifact with two models; None where it has one.

    Raises:
        ArtifactError: the file is damaged.
    """
    if CASCADE_FILE not in artifact.manifest["files"]:
        return None
    path: Path = artifact.file(CASCADE_FILE)
    if path.stat().st_size > MAX_BYTES:
        raise ArtifactError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    try:
        return CascadeRule.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, ValueError) as error:
        raise ArtifactError(
            f"is damaged ({' '.join(str(error).split())[:200]})",
            where=str(path),
            next_step="restore the artifact from a good copy",
        ) from None
