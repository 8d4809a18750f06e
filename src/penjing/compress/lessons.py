"""What a student learns from: texts as tokens, and what the teacher says of each.

The teacher reads every text once, before the student's first step. A student of one task's few words needs more texts
than have labels: others come from the unlabelled rows, and from the training rows with tokens left out or taken from
elsewhere (Tang et al. 2019), which only the teacher can label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from penjing.core.events import Progress
from penjing.core.task import Batch, Row, Table, Task
from penjing.train.batching import cut
from penjing.train.loop import to_tensors

IDS, MASK = "input_ids", "attention_mask"
# Shares of the tokens of an altered text that are left out, and that come from another text.
DROPPED, FOREIGN = 0.1, 0.1
_ENCODED_ROWS = 512
PLACE = "\0place"  # key of a row that stands for a text whose tokens are kept; no column has such a name


@dataclass(frozen=True)
class Lessons:
    """Texts as tokens, with what the teacher says of them.

    Args:
        inputs: [N] what the task's `encode` gave for each text, padding cut off.
        logits_NC: the teacher's.
        targets: [N, ...] as the task encodes them; anything where `labelled` is false.
        labelled: [N] whether the text has a label of its own.
    """

    inputs: list[Batch]
    logits_NC: Tensor
    targets: np.ndarray
    labelled: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)

    def table(self) -> Table:
        """Rows that stand for the texts."""
        return Table([{PLACE: i} for i in range(len(self))], [str(i) for i in range(len(self))], "lessons")


def read_lessons(
    teacher: nn.Module,
    task: Task,
    labelled: Sequence[Row],
    unlabelled: Sequence[Row],
    *,
    altered: int,
    seed: int,
    device: str,
    dtype: torch.dtype,
) -> Iterator[Progress | Lessons]:
    """Yield progress, and last the lessons: the labelled rows, `altered` versions of each, and the unlabelled rows.

    Args:
        teacher: in evaluation mode.
        task: encodes.
        labelled: training rows.
        unlabelled: rows with a text.
        altered: versions of each labelled row that are made up.
        seed: of what is made up.
        device: where the teacher is.
        dtype: of its passes.
    """
    inputs, targets = _encoded(task, labelled, with_targets=True)
    generator = np.random.default_rng([seed, len(labelled), altered])
    made = [_altered(one, inputs, generator) for _ in range(altered) for one in inputs]
    more, _ = _encoded(task, unlabelled, with_targets=False)
    everything = [*inputs, *made, *more]
    padded = np.zeros((len(everything), *targets.shape[1:]), targets.dtype)
    padded[: len(targets)] = targets
    logits_NC: Tensor | None = None
    lengths = np.array([one[IDS].size for one in everything])
    done = 0
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=128, batch_tokens=8192):
        batch = {name: _stacked([everything[i][name] for i in places]) for name in (IDS, MASK)}
        with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=dtype is not torch.float32):
            found_BC = teacher(to_tensors(batch, device))["logits"].float().cpu()
        if logits_NC is None:
            logits_NC = torch.empty(len(everything), found_BC.shape[1])
        logits_NC[torch.from_numpy(places)] = found_BC
        done += len(places)
        yield Progress("distil", done, len(everything), "texts", "read by the teacher")
    assert logits_NC is not None, "no texts"
    yield Lessons(everything, logits_NC, padded, np.arange(len(everything)) < len(inputs))


def _encoded(task: Task, rows: Sequence[Row], *, with_targets: bool) -> tuple[list[Batch], np.ndarray]:
    """Each row's arrays without padding, and the targets of all."""
    inputs: list[Batch] = []
    targets = []
    for start in range(0, len(rows), _ENCODED_ROWS):
        batch = task.encode(rows[start : start + _ENCODED_ROWS], training=with_targets)
        for ids, mask in zip(batch[IDS], batch[MASK], strict=True):
            length = int(mask.sum(-1).max())
            inputs.append({IDS: ids[..., :length].astype(np.int32), MASK: mask[..., :length].astype(np.int8)})
        if with_targets:
            targets.append(batch["targets"])
    return inputs, np.concatenate(targets) if targets else np.zeros(0)


def _altered(one: Batch, others: Sequence[Batch], generator: np.random.Generator) -> Batch:
    """A text with tokens left out and others put in; its first and last, which are the model's own, stay."""
    if one[IDS].ndim > 1:  # the two texts of a pair
        sides = [
            _altered({IDS: ids[: mask.sum()], MASK: mask[: mask.sum()]}, others, generator)
            for ids, mask in zip(one[IDS], one[MASK], strict=True)
        ]
        return {name: _stacked([side[name] for side in sides]) for name in (IDS, MASK)}
    ids = one[IDS]
    inner = ids[1:-1].copy()
    source = others[generator.integers(len(others))][IDS].reshape(-1)[1:-1]
    if len(source):
        foreign = generator.random(len(inner)) < FOREIGN
        inner[foreign] = source[generator.integers(len(source), size=int(foreign.sum()))]
    kept = inner[generator.random(len(inner)) >= DROPPED]
    inner = kept if len(kept) else inner
    found = np.concatenate([ids[:1], inner, ids[-1:]])
    return {IDS: found, MASK: np.ones(len(found), np.int8)}


class Taught:
    """A task whose training rows are lessons; of all other rows it is the task itself.

    Args:
        task: encodes and scores the rows of users.
        lessons: what the places stand for.
    """

    def __init__(self, task: Task, lessons: Lessons) -> None:
        self.task = task
        self.lessons = lessons

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row."""
        if not rows or PLACE not in rows[0]:
            return self.task.lengths(rows)
        first = self.task.signature.inputs[0].name
        return np.array([self.lessons.inputs[row[PLACE]][first].size for row in rows], np.int64)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """With `training` and lessons also `teacher` [B, C], `targets` and `labelled` [B]."""
        if not rows or PLACE not in rows[0]:
            return self.task.encode(rows, training)
        places = [row[PLACE] for row in rows]
        kept = [self.lessons.inputs[place] for place in places]
        batch = {name: _stacked([one[name] for one in kept]) for name in kept[0]}
        return {
            **batch,
            "teacher": self.lessons.logits_NC[places].numpy(),
            "targets": self.lessons.targets[places],
            "labelled": self.lessons.labelled[places].astype(np.float32),
        }


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """[B, ..., L] of arrays whose last axes differ in length; 0 past their ends, which the mask hides."""
    width = max(array.shape[-1] for array in arrays)
    stacked = np.zeros((len(arrays), *arrays[0].shape[:-1], width), np.int64)
    for target, array in zip(stacked, arrays, strict=True):
        target[..., : array.shape[-1]] = array
    return stacked
