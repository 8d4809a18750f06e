"""Distillation: a student learns what its teacher says of many texts, labelled ones and others (Hinton et al. 2015).

Where asked for it also learns how the teacher gets there: its last hidden states (Jiao et al. 2020), and which tokens
its queries, keys and values hold alike (Wang et al. 2021, "MiniLMv2").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from penjing.compress.guide import Guide
from penjing.compress.lessons import OFFSETS, TAUGHT, Lessons, Taught
from penjing.core.events import Event, Notice
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.train.config import TrainConfig
from penjing.train.fit import FitResult, fit_model
from penjing.train.gradient.objective import Objective
from penjing.train.gradient.tokens import TokenModel, band_scores, real_band, span_scores, zlpr

TAUGHT_SHARE = 0.98  # of the passes asked for, from which on a student was taught as long as that


@dataclass(frozen=True)
class DistilSettings:
    """How a student is taught.

    Args:
        epochs: passes over the lessons.
        learning_rate: peak.
        batch_rows: texts of one step.
        temperature: softens both sides.
        hard_share: weight of the label, where a text has one, beside the teacher.
        checkpoint_seconds: least time between two checkpoints.
        precision: of the passes, as in a recipe.
    """

    epochs: float
    learning_rate: float
    batch_rows: int = 64
    temperature: float = 2.0
    hard_share: float = 0.1
    checkpoint_seconds: float = 30.0
    precision: Literal["auto", "fp32"] = "auto"


def distil(
    task: Task,
    splits: Splits,
    student: nn.Module,
    lessons: Lessons,
    objective: Objective,
    settings: DistilSettings,
    out: Path,
    runtime: Runtime,
    *,
    identity: str,
    seed: int,
    max_minutes: float | None = None,
    guide: Guide | None = None,
) -> Generator[Event, None, FitResult]:
    """Teach a student; it goes on from a checkpoint, and keeps the weights that are best on the validation rows.

    Args:
        task: the teacher's.
        splits: their validation rows judge the student.
        student: with an `encoder` and a `head`.
        lessons: what it learns.
        objective: of the labels.
        settings: how.
        out: directory for checkpoint and weights.
        runtime: this process.
        identity: digest of teacher, student's beginning and data.
        seed: of the order.
        max_minutes: wall time allowed.
        guide: the teacher at work, where its inner states are learned too.

    Yields:
        Progress and notices.

    Returns:
        The taught student.
    """
    taught = Taught(task, lessons)
    config = TrainConfig(
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        batch_rows=settings.batch_rows,
        precision=settings.precision,
        frozen_layers=0,
        train_embeddings=True,
        head_multiplier=1.0,
        head_start="random",  # it begins where the teacher's head is
        ngrams=False,
        dropout=0.0,
        checkpoint_seconds=settings.checkpoint_seconds,
    )
    facts = [identity, config.model_dump(mode="json"), vars(settings), seed, None if guide is None else guide.weights]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    trainer = DistilTrainer(objective, task.calibration, settings.temperature, settings.hard_share, guide)
    own = Splits(lessons.table(), splits.valid, splits.sealed_test, splits.roles, digest)
    yield Notice("distil", f"teaching a student on {len(lessons):,} texts, {len(lessons.targets):,} with labels")
    return (
        yield from fit_model(
            taught, own, trainer, student, config, out, runtime, identity=digest, seed=seed, max_minutes=max_minutes
        )
    )


class DistilTrainer:
    """A `GradientTrainer` whose targets are what a teacher says; see `train/protocol.py`.

    Args:
        objective: of the labels, where they are of texts.
        calibration: the task's: how logits become probabilities.
        temperature: softens both sides.
        hard_share: weight of the label, where a text has one, beside the teacher.
        guide: the teacher at work, or None.
    """

    batch_coupled = False

    def __init__(
        self,
        objective: Objective,
        calibration: str | None,
        temperature: float,
        hard_share: float,
        guide: Guide | None = None,
    ) -> None:
        self.objective = objective
        self.calibration = calibration
        self.temperature = temperature
        self.hard_share = hard_share
        self.guide = guide

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over the rows and their number."""
        if self.guide is None:
            losses_B = self._losses(model, batch)
        else:
            with self.guide.watching(model) as inner:
                losses_B = self._losses(model, batch)
            losses_B = losses_B + self.guide.losses(inner, batch)
        return losses_B.sum(), torch.tensor(float(len(losses_B)), device=losses_B.device)

    def _losses(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """[B]."""
        outputs = model(batch)
        if isinstance(model, TokenModel):
            soft_B, hard_B = self._of_spans(outputs, batch, model.head.max_span_tokens)
        else:
            logits_BC = outputs["logits"].float()
            soft_B = self._soft(logits_BC, batch[TAUGHT + "logits"].float())
            hard_B = self.objective.per_row(logits_BC, batch["targets"])
        share_B = self.hard_share * batch["labelled"]
        return (1 - share_B) * soft_B + share_B * hard_B

    def _soft(self, student_BC: Tensor, teacher_BC: Tensor) -> Tensor:
        """[B] divergence of the student from the teacher, in units that do not shrink with the temperature."""
        if self.calibration is None:
            return (student_BC - teacher_BC).square().mean(1)
        student_BC, teacher_BC = student_BC / self.temperature, teacher_BC / self.temperature
        if self.calibration == "sigmoid":
            found_BC = F.binary_cross_entropy_with_logits(student_BC, teacher_BC.sigmoid(), reduction="none")
            return self.temperature**2 * found_BC.mean(1)
        log_student_BC, log_teacher_BC = student_BC.log_softmax(1), teacher_BC.log_softmax(1)
        return self.temperature**2 * (log_teacher_BC.exp() * (log_teacher_BC - log_student_BC)).sum(1)

    def _of_spans(self, outputs: dict[str, Tensor], batch: dict[str, Tensor], longest: int) -> tuple[Tensor, Tensor]:
        """([B] divergence of the scores of all spans, [B] loss of the labels), both averaged over labels."""
        scores_BCLK = band_scores(outputs["logits"].float(), outputs["pairs"].float(), longest)
        said_BCLK = span_scores(batch[TAUGHT + "logits"].float(), batch[TAUGHT + "pairs"].float())
        allowed_BLK = real_band(batch[OFFSETS][:, :, 0] >= 0, scores_BCLK.shape[-1])
        found_BCLK = F.binary_cross_entropy_with_logits(scores_BCLK, said_BCLK.sigmoid(), reduction="none")
        soft_B = (found_BCLK * allowed_BLK.unsqueeze(1)).sum((2, 3)).mean(1)
        return soft_B, zlpr(scores_BCLK, allowed_BLK, batch["targets"]).mean(1)
