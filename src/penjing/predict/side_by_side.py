"""Several artifacts measured in turns on the same rows, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from penjing.core.artifact import Artifact
from penjing.core.events import Listener, Progress, ignore
from penjing.predict.load import decide
from penjing.predict.measure import SECONDS, Measurement, measure
from penjing.predict.setup import Setup

_FIGURES = ("load_ms", "p50_ms", "p95_ms", "rows_per_s", "peak_ram_mb")


def side_by_side(
    artifacts: Sequence[Artifact],
    inputs: Sequence[Sequence[Any]],
    *,
    setups: Sequence[Setup | None] | None = None,
    concurrency: int = 1,
    turns: int = 3,
    seconds: float = SECONDS,
    listener: Listener = ignore,
) -> list[Measurement]:
    """Measure artifacts in fresh processes, one after the other, several times.

    Args:
        artifacts: verified ones.
        inputs: the rows for each, the same under its own names of columns.
        setups: how to run each; None: as `load` would here.
        concurrency: callers at the same time, for latency.
        turns: times that each is measured; figures are medians.
        seconds: spent on latency, and again on throughput, in each process.
        listener: told of progress, and of certificates that do not apply.

    Returns:
        One measurement an artifact, in order.
    """
    chosen: list[Setup] = []
    for artifact, wanted in zip(artifacts, setups or [None] * len(artifacts), strict=True):
        setup, notice = (wanted, None) if wanted is not None else decide(artifact)
        if notice is not None:
            listener(notice)
        chosen.append(setup)
    found: list[list[Measurement]] = [[] for _ in artifacts]
    for turn in range(turns):
        for i, artifact in enumerate(artifacts):
            one = measure(
                artifact, inputs[i], concurrency=concurrency, setup=chosen[i], seconds=seconds, num_processes=1
            )
            found[i].append(one)
            listener(Progress("bench", turn * len(artifacts) + i + 1, turns * len(artifacts), "processes"))
    return [_medians(each) for each in found]


def _medians(each: Sequence[Measurement]) -> Measurement:
    values = {name: round(median(getattr(one, name) for one in each), 3) for name in _FIGURES}
    first = each[0]
    return Measurement(
        **values,
        concurrency=first.concurrency,
        size_mb=first.size_mb,
        num_threads=first.num_threads,
        num_processes=len(each),
        setup=first.setup,
    )
