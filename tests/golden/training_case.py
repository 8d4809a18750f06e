"""A small fine-tuning run that can be repeated in a process of its own, and killed in the middle of anything."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from penjing.core.task import Roles, Splits, Table, TextSettings
from penjing.models.pretrained import Pretrained
from penjing.tasks.text_classification import TextClassification

SEED = 11
# Importing torch takes seconds; the fork server does it once for all runs of these tests.
PRELOADED = ["penjing.train.fit", "penjing.models.tokenizer", "penjing.tasks.text_classification"]


class Killed(Exception):
    """The run was left in the middle."""


@dataclass(frozen=True)
class Case:
    """Everything a run needs, picklable.

    Args:
        rows: text and label.
        roles: their columns.
        settings: of the tokenizer.
        pretrained: the tiny encoder.
        config: keys of `TrainConfig`.
        out: directory of checkpoint and weights.
        kill: when the process kills itself: ("step", n) after n steps; ("evaluating", n) during the n-th evaluation;
            ("writing", n) with the n-th checkpoint half written; ("renaming", n) with it written but not in its place.
        stop: after how many steps `Killed` is raised instead, for tests whose patches another process would not see.
        num_valid: rows held out.
        misled: whether held-out rows carry a label that is always wrong, so that learning makes their metric fall.
        threads: what the run is told it has; one is used.
    """

    rows: list[dict[str, Any]]
    roles: Roles
    settings: TextSettings
    pretrained: Pretrained
    config: dict[str, Any]
    out: Path
    kill: tuple[str, int] | None = None
    stop: int | None = None
    num_valid: int = field(default=6)
    misled: bool = False
    threads: int = 1

    def changed(self, **changes: Any) -> Case:
        return replace(self, **changes)

    def task(self) -> TextClassification:
        return TextClassification.from_rows(self.rows, self.roles, self.settings)

    def splits(self) -> Splits:
        table = Table(self.rows, [str(i) for i in range(len(self.rows))], "messages")
        held = range(0, len(self.rows), len(self.rows) // self.num_valid)
        learned = [i for i in range(len(self.rows)) if i not in held]
        valid = table.take(list(held))
        if self.misled:
            name, labels = self.roles.label, self.task().labels
            for i, row in enumerate(valid.rows):
                valid.rows[i] = {**row, name: labels[labels.index(row[name]) - 1]}
        return Splits(table.take(learned), valid, table.take([]), self.roles, "messages")


def quiet_case(task_rows: Any, settings: TextSettings, pretrained: Pretrained, out: Path) -> Case:
    """30 messages, 64-bit passes, everything random switched off; each test switches on what it is about."""
    rows, roles = task_rows("text-classification")
    config = {
        "precision": "fp64",
        "batch_rows": 4,
        "epochs": 2,
        "learning_rate": 1e-3,
        "checkpoint_seconds": 0,
        "ema": 0.0,
        "label_smoothing": 0.0,
        "dropout": 0.0,
        "token_dropout": 0.0,
        "rdrop": 0.0,
        "mixup": 0.0,
    }
    return Case(rows, roles, settings, pretrained, config, out)


def run_fit(case: Case, **arguments: Any) -> list[Any]:
    """`fit` from beginning to end in this process; its events, and the result last."""
    import torch

    from penjing.core.runtime import Runtime
    from penjing.train.config import TrainConfig
    from penjing.train.fit import fit

    torch.set_num_threads(1)
    runtime = Runtime.detect() if "RANK" in os.environ else Runtime(threads=case.threads)
    work = fit(
        case.task(), case.splits(), case.pretrained, TrainConfig(**case.config), case.out, runtime, seed=SEED,
        **arguments,
    )  # fmt: skip
    events: list[Any] = []
    while True:
        try:
            events.append(next(work))
        except StopIteration as stop:
            return [*events, stop.value]
        if case.kill == ("step", getattr(events[-1], "done", None)) and events[-1].stage == "train":
            die()
        if case.stop is not None and case.stop == getattr(events[-1], "done", None) and events[-1].stage == "train":
            work.close()
            raise Killed


def in_process(case: Case, environment: dict[str, str] | None = None) -> Any:
    """Start `run_fit` in a process of its own, which dies where the case says."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_child, args=(case, environment or {}))
    process.start()
    return process


def exit_code(process: Any) -> int:
    process.join(120)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("the run did not end")
    return int(process.exitcode)


def die() -> None:
    """What the system does to a process that is out of memory, at this very moment."""
    os.kill(os.getpid(), signal.SIGKILL)


def _child(case: Case, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with _deadly(case.kill):
        run_fit(case)
    if environment:
        import torch

        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _deadly(kill: tuple[str, int] | None):
    from penjing.train import attempt, checkpoint

    moment, when = kill or ("never", 0)
    count = itertools.count(1)
    write, sync, evaluate = checkpoint.save_tensors, os.fsync, attempt.evaluate_model

    def half_written(path, tensors, metadata):
        write(path, tensors, metadata)
        if next(count) == when:
            os.truncate(path, path.stat().st_size // 2)
            die()

    def not_renamed(descriptor):
        sync(descriptor)
        if next(count) == when:
            die()

    def evaluating(*arguments):
        found = evaluate(*arguments)
        if next(count) == when:
            die()
        return found

    if moment == "writing":
        checkpoint.save_tensors = half_written
    elif moment == "renaming":
        checkpoint.os.fsync = not_renamed
    elif moment == "evaluating":
        attempt.evaluate_model = evaluating
    yield
