"""What stands around the loop: evaluating, keeping the best weights, checkpoints, early stopping, the time allowed."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from penjing.core.events import Event, Notice, Progress
from penjing.core.memory import release_freed
from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Task
from penjing.train import checkpoint
from penjing.train.checkpoint import Position
from penjing.train.config import TrainConfig
from penjing.train.loop import Loop, Step
from penjing.train.optim import Ema, Masters
from penjing.train.time_limit import TimeLimit
from penjing.train.validation import evaluate_model


@dataclass
class Attempt:
    """One process turning the loop, from its beginning or from a checkpoint.

    Args:
        task: scores the validation rows.
        splits: train and valid.
        model: as the loop trains it.
        config: settings.
        runtime: this process.
        masters: the weights the optimizer holds.
        ema: averaged weights, or None.
        loop: makes the steps.
        limit: how long training may take.
        best: the weights kept so far.
    """

    task: Task
    splits: Splits
    model: nn.Module
    config: TrainConfig
    runtime: Runtime
    masters: Masters
    ema: Ema | None
    loop: Loop
    limit: TimeLimit
    best: list[Tensor] | None = None
    _saved: float = field(default_factory=time.monotonic)

    def adopt(self, position: Position, best: list[Tensor] | None) -> None:
        """Go on from a checkpoint."""
        self.loop.position, self.best = position, best
        self.loop.scale.value, self.loop.scale.calm = position.scale, position.calm
        self.masters.publish()

    def train(self, out: Path, identity: str) -> Iterator[Event]:
        """Turn the loop; evaluate, checkpoint and stop as configured."""
        position = self.loop.position
        if position.step == 0:
            self._record(Step(0, float("nan"), 0, 0.0, 0.0, True))
            yield self._progress(None)
        if self._exhausted():
            return
        for step in self.loop.steps():
            if step.evaluate:
                self._record(step)
            yield self._progress(step)
            decisions = len(self.limit.decided)
            notice = self.limit.check(self.loop)
            if len(self.limit.decided) > decisions and self.runtime.rank == 0:
                self.limit.record(out, identity)
            if notice is not None:
                yield notice
            exhausted = self._exhausted()
            due = time.monotonic() - self._saved >= self.config.checkpoint_seconds
            # The limit's decision is saved with the step it was made at, or a resumed run might decide otherwise.
            if due or exhausted or step.step >= position.total or self.limit.just_changed:
                self._save(out, identity)
            if exhausted:
                yield Notice("train", f"stopped early at step {step.step}: no gain in {position.stale} evaluations")
                return

    def _save(self, out: Path, identity: str) -> None:
        if self.runtime.rank == 0:
            checkpoint.save(
                out, identity=identity, position=self.loop.position, masters=self.masters,
                optimizer=self.loop.optimizer, ema=self.ema, best=self.best,
            )  # fmt: skip
        self._saved = time.monotonic()

    def _exhausted(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.loop.position.stale >= patience

    def _record(self, step: Step) -> None:
        """Evaluate the weights that would be kept, and keep them if they are the best."""
        position, started = self.loop.position, time.perf_counter()
        with self._kept_weights() as values:
            metrics = evaluate_model(self.model, self.task, self.splits.valid, self.runtime.device)
            if self._is_best(metrics[self.task.primary]):
                self.best = [value.detach().clone() for value in values]
        release_freed()  # blocks of many sizes, freed, that the heap would hold on to: 0.26 of 2.00 GB on Banking77
        spent = time.perf_counter() - started
        position.other_seconds += spent
        position.evaluation_seconds = spent
        position.history.append(
            {
                "step": float(step.step),
                "epoch": round(position.rows / max(1, len(self.splits.train)), 3),
                "loss": step.loss,
                "learning_rate": step.learning_rate,
                "samples_per_s": position.rows / position.seconds if position.seconds else 0.0,
                **{f"valid_{name}": value for name, value in metrics.items()},
            }
        )

    def _is_best(self, found: float) -> bool:
        """Compare with the best so far and count; ties go to the later weights, which have seen more."""
        position = self.loop.position
        sign = 1.0 if self.task.metrics[self.task.primary].higher_is_better else -1.0
        # A metric that is undefined (R² of one row, AUC of one class) never beats a number.
        better = position.best is None or (not math.isnan(found) and sign * found >= sign * position.best)
        if better:
            position.best, position.stale = (None if math.isnan(found) else found), 0
        else:
            position.stale += 1
        return better

    @contextlib.contextmanager
    def _kept_weights(self) -> Iterator[list[Tensor]]:
        """Inside, the model holds the averaged weights; after, those in training again."""
        schedule_free = self.config.optimizer == "schedule-free"
        # Copies, because publishing into a model that shares its tensors with the masters overwrites them, and because
        # the way schedule-free goes to its average and back rounds.
        training = [master.detach().clone() for master in self.masters.full]
        if schedule_free:
            self.loop.optimizer.eval()  # type: ignore[attr-defined]
        values = self.ema.values if self.ema is not None else list(self.masters.full)
        self.masters.publish(values)
        try:
            yield values
        finally:
            if schedule_free:
                self.loop.optimizer.train()  # type: ignore[attr-defined]
            self._put_back(training)

    @torch.no_grad()
    def _put_back(self, training: list[Tensor]) -> None:
        for master, value in zip(self.masters.full, training, strict=True):
            master.copy_(value)
        self.masters.publish()

    def _progress(self, step: Step | None) -> Progress:
        position = self.loop.position
        values = {"samples_per_s": position.rows / position.seconds if position.seconds else 0.0}
        if step is not None:
            values |= {"loss": step.loss, "learning_rate": step.learning_rate, "norm": step.norm}
        latest = position.history[-1][f"valid_{self.task.primary}"] if position.history else math.nan
        if not math.isnan(latest):
            values[f"valid_{self.task.primary}"] = latest
        return Progress("train", position.step, position.total, "steps", values=values)
