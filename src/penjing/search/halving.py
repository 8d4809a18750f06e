"""Successive halving: all arms get a little, the better ones more (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from penjing.core.events import Event, Progress

Arm = TypeVar("Arm")


def halve(
    arms: Sequence[Arm],
    advance: Callable[[Arm, int], Generator[Event, None, float | None]],
    keep: Sequence[int],
    stage: str,
) -> Generator[Event, None, list[tuple[Arm, float]]]:
    """Advance arms rung by rung.

    Args:
        arms: candidates.
        advance: (arm, rung) → its score after that rung, the more the better; None: there was no time for it.
        keep: arms that enter each rung after the first; its length is the number of further rungs.
        stage: whose progress it is.

    Yields:
        Progress.

    Returns:
        Arms with their scores of the last rung that any entered, best first.
    """
    assert arms, "no arms"
    waiting = list(arms)
    ranked: list[tuple[Arm, float]] = []
    total = len(arms) + sum(min(n, len(arms)) for n in keep)
    done = 0
    for rung in range(len(keep) + 1):
        scored = []
        for arm in waiting:
            score = yield from advance(arm, rung)
            done += 1
            yield Progress(stage, done, total, "trials", "students")
            if score is not None:
                scored.append((arm, score))
        if not scored:
            break
        ranked = sorted(scored, key=lambda pair: -pair[1])
        if rung < len(keep):
            waiting = [arm for arm, _ in ranked[: keep[rung]]]
    return ranked
