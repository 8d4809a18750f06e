"""Keeps training within the minutes the budget allows, by planning fewer steps; some of them come back where it turns
out that there is time for them.

The learning rate then falls to 0 over the steps that are left, which gives better weights than cutting a longer plan
off. Every decision, also that nothing changes, is written beside the checkpoint at once: a killed run that goes on from
an earlier step, or from the first, decides at each step as it did before, however fast the machine is this time.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from penjing.core.artifact import write_atomic
from penjing.core.errors import ArtifactError
from penjing.core.events import Notice
from penjing.train.checkpoint import WARMING_STEPS, Position

if TYPE_CHECKING:
    from penjing.train.loop import Loop

FILE = "plan.json"
WARM_STEPS = 8  # steps before an estimate of the whole run is trusted
_CHECKS = 10  # estimates over a run
_SLACK = 1.05  # what is foreseen may differ from the limit by this before the plan changes: estimates are no better
# Later the learning rate, which falls to 0 over the plan, would have to rise again by much.
_MAY_GROW_UNTIL = 0.6  # of the plan


@dataclass
class TimeLimit:
    """How long training may take.

    Args:
        max_minutes: wall time, all attempts of a resumed run together (but for the steps an attempt made after its last
            checkpoint, which are made again); None: no limit.
        what: what is limited, "training" or "pretraining".
        just_changed: whether the last check planned another number of steps.
        decided: step at which there was a check → steps planned from then on.
        asked: steps that were planned first, so far as known: a plan that was cut short grows no longer than this.
    """

    max_minutes: float | None
    what: str = "training"
    just_changed: bool = False
    decided: dict[int, int] = field(default_factory=dict)
    asked: int = 0
    _told: bool = field(default=False)

    def recall(self, directory: Path, identity: str) -> None:
        """Take over what an interrupted run decided under the same limit; another run's decisions do not count.

        Args:
            directory: where `record` wrote.
            identity: digest of all that shapes the weights.

        Raises:
            ArtifactError: the file is damaged.
        """
        path = directory / FILE
        if self.max_minutes is None or not path.is_file():
            return
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            same = (found["identity"], found["max_minutes"]) == (identity, self.max_minutes)
            decided = {int(step): int(total) for step, total in found["decided"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"the plan is damaged ({error!r})", where=str(path), next_step="delete it to plan anew"
            ) from None
        self.decided = decided if same else {}
        self.asked = int(found.get("asked", 0)) if same else 0

    def record(self, directory: Path, identity: str) -> None:
        """Write the decisions down, atomically."""
        directory.mkdir(parents=True, exist_ok=True)
        facts = {"identity": identity, "max_minutes": self.max_minutes, "decided": self.decided, "asked": self.asked}
        write_atomic(directory / FILE, json.dumps(facts) + "\n")

    def check(self, loop: Loop) -> Notice | None:
        """Estimate after the first steps and at every tenth of the run; shorten the plan if it exceeds the limit.

        Args:
            loop: its position's `total` is lowered where need be, or raised again.

        Returns:
            What the user should know, once the estimate stands or when the plan changes.
        """
        self.just_changed = False
        position = loop.position
        self.asked = max(self.asked, position.total)
        every = max(WARM_STEPS, position.total // _CHECKS)
        if position.step % every and position.step != WARM_STEPS:
            return None
        left = position.total - position.step
        per_step, spent = self._measured(loop)
        if self.max_minutes is not None and left:
            total = self.decided.setdefault(position.step, self._affordable(position, per_step, spent))
            planned, position.total = position.total, total
            self.just_changed = total != planned
            if total > planned:
                return Notice(self._stage, f"steps are faster than foreseen: there is time for {total} of them")
            if total < planned:
                self._told = True
                return Notice(
                    self._stage,
                    f"the budget's {self.max_minutes:g} minutes of {self.what} allow {position.total} of the "
                    f"{planned} steps planned",
                    "warning",
                )
        if position.step >= WARM_STEPS and not self._told:
            self._told = True
            return Notice(self._stage, f"about {max(1, round(left * per_step / 60))} min of {self.what} ahead")
        return None

    @property
    def _stage(self) -> str:
        return "pretrain" if self.what == "pretraining" else "train"

    def _affordable(self, position: Position, per_step: float, spent: float) -> int:
        """How many steps there is time for in all, one more at least; as many as are planned where it is about that."""
        assert self.max_minutes is not None
        planned = position.total
        foreseen = spent + (planned - position.step) * per_step
        exceeds = foreseen > 60 * self.max_minutes * _SLACK
        spares = foreseen * _SLACK < 60 * self.max_minutes and position.step <= _MAY_GROW_UNTIL * planned
        if not (exceeds or (spares and planned < self.asked)):
            return planned
        total = position.step + max(1, math.floor((60 * self.max_minutes - spent) / per_step))
        return min(total, planned if exceeds else self.asked)

    def _measured(self, loop: Loop) -> tuple[float, float]:
        """(seconds a step with its share of evaluation, seconds spent), the same in all processes."""
        position = loop.position
        share = position.evaluation_seconds * loop.config.evaluations / max(1, loop.steps_per_epoch)
        # A plan grows again in its first part alone, so the first steps must not make it too short.
        warming = WARMING_STEPS if position.warming_seconds else 0  # a checkpoint of old does not know of them
        usual = (position.seconds - position.warming_seconds) / max(1, position.step - warming)
        per_step, spent = usual + share, position.seconds + position.other_seconds
        means = torch.tensor([per_step, spent], dtype=torch.float64, device=loop.runtime.device) / loop.runtime.world
        loop.runtime.sum_over_ranks([means])
        return float(means[0]), float(means[1])
