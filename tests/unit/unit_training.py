"""Fine-tuning the tiny encoder on a few messages, for the tests of the train stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penjing.core.runtime import Runtime
from penjing.core.task import Splits, Table, Task
from penjing.models.pretrained import Pretrained
from penjing.train.config import TrainConfig

SEED = 5


def split(rows: list[dict[str, Any]], roles: Any, num_valid: int = 6) -> Splits:
    """Every few rows into valid, the others into train."""
    table = Table(rows, [str(i) for i in range(len(rows))], "messages")
    held = list(range(0, len(rows), len(rows) // num_valid))
    return Splits(
        table.take([i for i in range(len(rows)) if i not in held]), table.take(held), table.take([]), roles, "m"
    )


def make_model(task: Task, pretrained: Pretrained, config: TrainConfig) -> tuple[Any, Any]:
    """The task's trainer and a fresh model."""
    from penjing.core import registry

    trainer = registry.load(task.trainer)()
    return trainer, trainer.build_model(task, pretrained, config, SEED)


def train_tiny(task: Task, splits: Splits, pretrained: Pretrained, config: TrainConfig, out: Path, **more: Any) -> Any:
    """`fit` to its end; `events`, where given, collects what it yields."""
    import torch

    from penjing.core.memory import existing_objects_kept
    from penjing.train.fit import fit

    torch.set_num_threads(1)
    events = more.pop("events", [])
    work = fit(task, splits, pretrained, config, out, Runtime(), seed=SEED, **more)
    with existing_objects_kept():  # as a run does; without it two thirds of these seconds go to collections
        while True:
            try:
                events.append(next(work))
            except StopIteration as stop:
                return stop.value
