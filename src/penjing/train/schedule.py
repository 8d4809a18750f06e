"""Learning-rate schedules: a factor of the peak, by step."""

from __future__ import annotations

import math


def factor(step: int, total: int, *, schedule: str, warmup: float) -> float:
    """Factor of the peak learning rate at a step.

    Args:
        step: 0-based optimizer step.
        total: steps of the whole run.
        schedule: "linear" or "cosine" (both end at 0) or "constant".
        warmup: share of the steps in which the factor rises from 0 to 1.
    """
    warm_steps = round(warmup * total)
    if step < warm_steps:
        return (step + 1) / warm_steps
    remaining = (step - warm_steps) / max(1, total - warm_steps)
    if schedule == "linear":
        return 1.0 - remaining
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * remaining))
    assert schedule == "constant", schedule
    return 1.0
