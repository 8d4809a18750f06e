"""A wall-clock deadline that the steps of long work share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Time left until a deadline.

    Args:
        seconds: from now to the deadline.
        clock: monotonic seconds; tests give their own.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return self.clock() - self.started

    @property
    def left(self) -> float:
        """Seconds to the deadline, never below 0."""
        return max(0.0, self.seconds - self.spent)

    def part(self, share: float) -> Stopwatch:
        """A stopwatch over a share of the time left."""
        return Stopwatch(share * self.left, self.clock)
