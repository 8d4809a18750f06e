"""The training loop. It yields; saving, logging and stopping live with whoever iterates.

Everything random in a step is seeded by (seed, step), so the loop holds no generator state and a resumed run draws the
same numbers. The loss of a micro-batch is a sum and a weight; the gradient of a step is the sum of all gradients over
the sum of all weights, over micro-batches and processes alike, which makes 1 × 32 rows, 4 × 8 rows and two processes
with 16 rows each the same step.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.errors import CapabilityError
from penjing.core.runtime import Runtime
from penjing.core.task import Batch, Table, Task
from penjing.train.batching import plan_epoch
from penjing.train.checkpoint import WARMING_STEPS, Position
from penjing.train.config import TrainConfig
from penjing.train.optim import Ema, Masters, divides_gradients
from penjing.train.precision import LossScale
from penjing.train.protocol import GradientTrainer
from penjing.train.schedule import factor

if TYPE_CHECKING:
    from penjing.train.lower_states import LowerStates


@dataclass(frozen=True)
class Step:
    """One optimizer step, just done.

    Args:
        step: steps done so far.
        loss: mean over the step's rows, all processes.
        rows: rows of this step, all processes.
        norm: gradient norm before clipping.
        learning_rate: of the encoder's last layer or, with a probe, the head.
        evaluate: whether an evaluation is due now.
    """

    step: int
    loss: float
    rows: int
    norm: float
    learning_rate: float
    evaluate: bool


@dataclass
class Loop:
    """The moving parts of a run; `steps` turns them."""

    task: Task
    trainer: GradientTrainer
    model: nn.Module
    table: Table
    config: TrainConfig
    runtime: Runtime
    optimizer: torch.optim.Optimizer
    masters: Masters
    ema: Ema | None
    scale: LossScale
    position: Position
    seed: int
    lower: LowerStates | None = None

    def __post_init__(self) -> None:
        self.lengths = self.task.lengths(self.table.rows)
        self.micro_per_step = self.config.accumulation * self.runtime.world

    def plan(self, epoch: int) -> list[list[np.ndarray]]:
        """Micro-batches of every step of an epoch, all processes together."""
        batches = plan_epoch(
            self.lengths,
            batch_rows=self.config.batch_rows,
            batch_tokens=self.config.batch_tokens,
            seed=self.seed,
            epoch=epoch,
        )
        return [batches[i : i + self.micro_per_step] for i in range(0, len(batches), self.micro_per_step)]

    @cached_property
    def steps_per_epoch(self) -> int:
        """Steps of the first epoch; others may differ by a few."""
        return len(self.plan(0))

    def total_steps(self, epochs: float) -> int:
        """Steps of a whole run; a fraction of an epoch is a fraction of the first plan's steps."""
        # Plans of different epochs may differ by a step, where rows of like length are cut in another place.
        whole, part = int(epochs), epochs - int(epochs)
        return sum(len(self.plan(e)) for e in range(whole)) + math.ceil(part * len(self.plan(whole)) if part else 0)

    def steps(self) -> Iterator[Step]:
        """Train from `position` to its total, yielding after each step."""
        position, done = self.position, 0
        self.model.train()
        for epoch in itertools.count():
            plan = self.plan(epoch)
            if done + len(plan) <= position.step:
                done += len(plan)
                continue
            due = {round((i + 1) * len(plan) / self.config.evaluations) for i in range(self.config.evaluations)}
            for index, micro_batches in enumerate(plan):
                if done + index < position.step:
                    continue
                if position.step >= position.total:
                    return
                started = time.perf_counter()
                result = self._step(micro_batches, evaluate=index + 1 in due)
                elapsed = time.perf_counter() - started
                position.seconds += elapsed
                position.warming_seconds += elapsed if position.step <= WARMING_STEPS else 0.0
                yield result
            done += len(plan)

    def _step(self, micro_batches: list[np.ndarray], evaluate: bool) -> Step:
        position = self.position
        total_loss, total_weight = torch.zeros(2, 1, dtype=torch.float64, device=self.runtime.device)
        mine = range(self.runtime.rank, len(micro_batches), self.runtime.world)
        for index in mine:
            seed_step(self.seed, position.step, index)
            batch = self._encode(micro_batches[index])
            loss, weight = self.trainer.loss(self.model, batch)
            (loss * self.scale.value).backward()
            self.masters.collect()
            total_loss += loss.detach().double()
            total_weight += weight.detach().double()
        self._reduce(total_loss, total_weight)
        # Nothing weighs anything where, say, no token happened to be hidden: the gradient is a sum over nothing.
        denominator = float(total_weight) or 1.0
        norm = self._scale_gradients(denominator)
        overflowed = not math.isfinite(norm)
        if overflowed and not self.scale.can_shrink:
            raise _diverged(position.step, float(total_loss) / denominator)
        rate = self._set_learning_rate()
        if not overflowed:
            self.optimizer.step()
            self.masters.publish()
            if self.ema is not None:
                self.ema.update(self.masters, position.step)
        self.optimizer.zero_grad(set_to_none=True)
        self.scale.update(overflowed)
        position.step += 1
        rows = sum(len(batch) for batch in micro_batches)
        position.rows += rows
        position.scale, position.calm = self.scale.value, self.scale.calm
        evaluate = evaluate or position.step == position.total
        return Step(position.step, float(total_loss) / denominator, rows, norm, rate, evaluate)

    def _encode(self, positions: np.ndarray) -> dict[str, Tensor]:
        batch = to_tensors(
            self.task.encode([self.table.rows[i] for i in positions], training=True), self.runtime.device
        )
        if self.lower is not None:
            batch["lower"] = self.lower.batch(positions, batch["input_ids"].shape[1])
        return batch

    def _reduce(self, *totals: Tensor) -> None:
        for master in self.masters.full:
            if master.grad is None and self.runtime.world > 1:
                master.grad = torch.zeros_like(master)
        self.runtime.sum_over_ranks([m.grad for m in self.masters.full if m.grad is not None])
        self.runtime.sum_over_ranks(totals)

    def _scale_gradients(self, weight: float) -> float:
        """Turn sums into a mean, clip, and return the norm before clipping."""
        grads = [m.grad for m in self.masters.full if m.grad is not None]
        mean = 1.0 / (weight * self.scale.value)
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))) * mean
        clipping = 1.0 if self.config.clip is None else min(1.0, self.config.clip / (norm + 1e-6))
        # Gradients are as large as the model, so a pass over them costs: both factors in one, and none where the
        # optimizer's own pass can divide.
        if divides_gradients(self.optimizer):
            self.optimizer.grad_scale = torch.tensor(1.0 / (mean * clipping or 1.0), device=self.runtime.device)
        else:
            torch._foreach_mul_(grads, mean * clipping)
        return norm

    def _set_learning_rate(self) -> float:
        share = 1.0  # schedule-free warms up and averages by itself
        if self.config.optimizer != "schedule-free":
            share = factor(
                self.position.step, self.position.total, schedule=self.config.schedule, warmup=self.config.warmup
            )
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
        return float(self.optimizer.param_groups[-1]["lr"])


def _diverged(step: int, loss: float) -> CapabilityError:
    return CapabilityError(
        f"training diverged: the gradient of step {step + 1} is not finite (loss {loss:.3g})",
        where="train.learning_rate",
        next_step="lower it, or set train.precision to fp32; then run again with --overwrite",
    )


def seed_step(seed: int, step: int, index: int) -> None:
    """Seed torch's generators (dropout, mixup) for one micro-batch."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, index]).generate_state(1, np.uint64)[0] >> 1))


def to_tensors(batch: Batch, device: str) -> dict[str, Tensor]:
    """Arrays → tensors; an attention mask without padding is dropped, for the encoder skips what it need not mask."""
    mask = batch.get("attention_mask")
    full = mask is not None and bool(mask.all())
    return {
        name: torch.from_numpy(array).to(device)
        for name, array in batch.items()
        if not (full and name == "attention_mask")
    }
