"""Keeps training within the minutes the budget allows, by planning fewer steps.

The learning rate then falls to 0 over the steps that are left, which gives better weights than cutting a longer plan
off. The decision is written into the position, and with it into the checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from penjing.core.events import Notice

if TYPE_CHECKING:
    from penjing.train.loop import Loop

WARM_STEPS = 8  # steps before an estimate of the whole run is trusted
_CHECKS = 10  # estimates over a run
_SLACK = 1.05  # what is foreseen may exceed the limit by this before the plan changes: estimates are no better


@dataclass
class TimeLimit:
    """How long training may take.

    Args:
        max_minutes: wall time, all attempts of a resumed run together; None: no limit.
        evaluation_seconds: what the last evaluation took.
        just_shortened: whether the last check planned fewer steps.
    """

    max_minutes: float | None
    evaluation_seconds: float = 0.0
    just_shortened: bool = False
    _told: bool = field(default=False)

    def check(self, loop: Loop) -> Notice | None:
        """Estimate after the first steps and at every tenth of the run; shorten the plan if it exceeds the limit.

        Args:
            loop: its position's `total` is lowered where need be.

        Returns:
            What the user should know, once the estimate stands or when the plan changes.
        """
        self.just_shortened = False
        position = loop.position
        every = max(WARM_STEPS, position.total // _CHECKS)
        if position.step % every and position.step != WARM_STEPS:
            return None
        left = position.total - position.step
        per_step, spent = self._measured(loop)
        if self.max_minutes is not None and left and spent + left * per_step > 60 * self.max_minutes * _SLACK:
            affordable = max(1, math.floor((60 * self.max_minutes - spent) / per_step))
            if affordable < left:
                planned, position.total = position.total, position.step + affordable
                self.just_shortened = self._told = True
                return Notice(
                    "train",
                    f"the budget's {self.max_minutes:g} minutes of training allow {position.total} of the "
                    f"{planned} steps planned",
                    "warning",
                )
        if position.step >= WARM_STEPS and not self._told:
            self._told = True
            return Notice("train", f"about {max(1, round(left * per_step / 60))} min of training ahead")
        return None

    def _measured(self, loop: Loop) -> tuple[float, float]:
        """(seconds a step with its share of evaluation, seconds spent), the same in all processes."""
        position = loop.position
        share = self.evaluation_seconds * loop.config.evaluations / max(1, loop.steps_per_epoch)
        per_step, spent = position.seconds / position.step + share, position.seconds + position.other_seconds
        means = torch.tensor([per_step, spent], dtype=torch.float64, device=loop.runtime.device) / loop.runtime.world
        loop.runtime.sum_over_ranks([means])
        return float(means[0]), float(means[1])
