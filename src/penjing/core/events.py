"""What long work yields while it runs. Whoever started it shows, stores or ignores these; the work itself never prints.

The command line turns them into progress bars, the report into curves, and tests into assertions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of long work.

    Args:
        stage: the stage's name ("train", "fetch", "evaluate", ...).
        done: units finished so far.
        total: units in all, or None where unknown.
        unit: what is counted ("rows", "steps", "bytes").
        note: a few words for the person watching.
        values: figures of the moment (loss, accuracy, samples_per_s, ...).
    """

    stage: str
    done: float
    total: float | None = None
    unit: str = "rows"
    note: str = ""
    values: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the user should know: a choice made for them, or a limit met.

    Args:
        stage: the stage's name.
        text: one sentence.
        level: info or warning.
    """

    stage: str
    text: str
    level: Literal["info", "warning"] = "info"


@dataclass(frozen=True, slots=True)
class Standings:
    """What is best so far, as a table that is replaced while work goes on.

    Args:
        stage: the stage's name.
        text: the same in one sentence, for where a table would be too much.
        columns: name of each column, as reports know it.
        rows: cells, the best first; the last is yes or no.
        chosen: which row would be taken now; None: none.
    """

    stage: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    chosen: int | None = None


Event = Progress | Notice | Standings
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener for callers that watch nothing."""
