"""What a student learns from: texts as tokens, and what the teacher says of each.

The teacher reads every text once, before the student's first step. A student of one task's few words needs more texts
than have labels: others come from the unlabelled rows, and from the training rows with words left out or taken from
elsewhere (Tang et al. 2019; `disturb.py`), which only the teacher can label.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from penjing.compress.disturb import DROPPED, FOREIGN, Disturber
from penjing.core.events import Progress
from penjing.core.task import Batch, Row, Table, Task
from penjing.train.batching import cut
from penjing.train.gradient.tokens import band
from penjing.train.loop import to_tensors

IDS, MASK, OFFSETS = "input_ids", "attention_mask", "offsets"
TAUGHT = "teacher."  # before the name of an output, in a batch
_ENCODED_ROWS = 512
PLACE = "\0place"  # key of a row that stands for a text whose tokens are kept; no column has such a name
# What stands past the end of a shorter array: a token that the mask hides, no characters, no target.
_FILL = {OFFSETS: -1, "targets": -1}


@dataclass(frozen=True)
class Lessons:
    """Texts as tokens, with what the teacher says of them.

    Args:
        inputs: [N] what the task's `encode` gave for each text, padding cut off.
        said: [N] the teacher's outputs for each text, by name.
        targets: of the first texts, which have labels, as the task encodes them.
        blank: the target of a text without a label; nothing reads it.
    """

    inputs: list[Batch]
    said: list[Batch]
    targets: list[np.ndarray]
    blank: np.ndarray

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
    reader: Task | None = None,
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
        reader: the task as the teacher reads it, where its tokenizer has more words than the students'; what is said of
            each token takes the same tokens, so that no other is possible there.
    """
    generator = np.random.default_rng([seed, len(labelled), altered])
    inputs, targets = _encoded(task, labelled, with_targets=True)
    if says_of_tokens(task):  # where the labels would be after words have changed is not known
        made = [_altered(one, inputs, generator) for _ in range(altered) for one in inputs]
        inputs += [*made, *_encoded(task, unlabelled, with_targets=False)[0]]
        reads = inputs
    else:
        reader = reader or task
        disturb = Disturber.of(reader, labelled)
        rows = [*(disturb(row, generator) for _ in range(altered) for row in labelled), *unlabelled]
        reads = [one for part in (labelled, rows) for one in _encoded(reader, part, with_targets=False)[0]]
        inputs += _encoded(task, rows, with_targets=False)[0]
    said: list[Batch] = [{} for _ in reads]
    lengths = np.array([one[IDS].size for one in reads])
    done = 0
    of_tokens = {
        spec.name: [i - 1 for i, n in enumerate(spec.shape) if n == "length"] for spec in task.signature.outputs
    }
    for places in cut(np.argsort(lengths, kind="stable"), lengths, batch_rows=128, batch_tokens=8192):
        batch = stacked([reads[i] for i in places])
        with torch.no_grad(), torch.autocast(device, dtype=dtype, enabled=dtype is not torch.float32):
            found = teacher(to_tensors(batch, device))
        for name, tensor in found.items():
            pairs = len(of_tokens[name]) > 1
            # Scores of two tokens each would grow with the square of a text, and so are kept of spans that can be.
            values = (band(tensor, teacher.head.max_span_tokens) if pairs else tensor).float().cpu().numpy()
            for i, value in zip(places, values, strict=True):
                kept = _cut_to(value, of_tokens[name], reads[i][IDS].shape[-1])
                # They are most of the memory still, and to come near them needs no 32 bits.
                said[i][name] = kept.clip(-6e4, 6e4).astype(np.float16) if pairs else kept
        done += len(places)
        yield Progress("distil", done, len(reads), "texts", "read by the teacher")
    yield Lessons(inputs, said, targets, _blank(targets))


def says_of_tokens(task: Task) -> bool:
    """Whether a model says something of each token, and not of a text as a whole."""
    return any("length" in spec.shape for spec in task.signature.outputs)


def _cut_to(value: np.ndarray, axes: Sequence[int], length: int) -> np.ndarray:
    """A copy without what padding tokens gave, along the axes that are of tokens."""
    return value[tuple(slice(length if axis in axes else None) for axis in range(value.ndim))].copy()


def _blank(targets: Sequence[np.ndarray]) -> np.ndarray:
    """A target that says nothing: no spans, or zeros in the shape of one."""
    if not targets:
        return np.zeros(0, np.int64)
    first = np.asarray(targets[0])
    return first[:0] if first.ndim > 1 else np.zeros_like(first)


def _encoded(task: Task, rows: Sequence[Row], *, with_targets: bool) -> tuple[list[Batch], list[np.ndarray]]:
    """Each text's arrays without padding (a long one may be several windows), and the targets of all."""
    inputs: list[Batch] = []
    targets: list[np.ndarray] = []
    for start in range(0, len(rows), _ENCODED_ROWS):
        batch = task.encode(rows[start : start + _ENCODED_ROWS], training=with_targets)
        for i, mask in enumerate(batch[MASK]):
            length = int(mask.sum(-1).max())
            one = {IDS: batch[IDS][i][..., :length].astype(np.int32), MASK: mask[..., :length].astype(np.int8)}
            if OFFSETS in batch:
                one[OFFSETS] = batch[OFFSETS][i][:length].astype(np.int32)
            inputs.append(one)
        if with_targets:
            targets += list(batch["targets"])
    return inputs, targets


def _altered(one: Batch, others: Sequence[Batch], generator: np.random.Generator) -> Batch:
    """A text with tokens left out and others put in; its first and last, which are the model's own, stay."""
    ids = one[IDS]
    inner = ids[1:-1].copy()
    source = others[generator.integers(len(others))][IDS][1:-1]
    if len(source):
        foreign = generator.random(len(inner)) < FOREIGN
        inner[foreign] = source[generator.integers(len(source), size=int(foreign.sum()))]
    kept = inner[generator.random(len(inner)) >= DROPPED]
    inner = kept if len(kept) else inner
    found = {IDS: np.concatenate([ids[:1], inner, ids[-1:]])}
    found[MASK] = np.ones(len(found[IDS]), np.int8)
    if OFFSETS in one:  # which characters nobody asks, only whether there are any
        found[OFFSETS] = np.full((len(found[IDS]), 2), -1, np.int32)
        found[OFFSETS][1:-1] = (0, 1)
    return found


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
        return np.array([self.lessons.inputs[row[PLACE]][IDS].size for row in rows], np.int64)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Of lessons also the teacher's outputs, `teacher.<name>`, `targets`, and whether there are any: `labelled`."""
        if not rows or PLACE not in rows[0]:
            return self.task.encode(rows, training)
        places = [row[PLACE] for row in rows]
        lessons = self.lessons
        kept = [lessons.inputs[place] for place in places]
        said = [lessons.said[place] for place in places]
        labelled = np.array([place < len(lessons.targets) for place in places])
        targets = [lessons.targets[i] if known else lessons.blank for i, known in zip(places, labelled, strict=True)]
        return {
            **{name: _stacked(name, [one[name] for one in kept]) for name in kept[0]},
            **{TAUGHT + name: _stacked(TAUGHT, [one[name] for one in said]) for name in said[0]},
            "targets": _stacked("targets", targets) if targets[0].ndim > 1 else np.stack(targets),
            "labelled": labelled.astype(np.float32),
        }


def stacked(texts: Sequence[Batch]) -> Batch:
    """The ids and masks of some texts as one batch."""
    return {name: _stacked(name, [one[name] for one in texts]) for name in (IDS, MASK)}


def _stacked(name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """[B, ...] of arrays that differ in size along some axes; past their ends is what the mask hides."""
    shape = tuple(np.max([array.shape for array in arrays], axis=0))
    dtype = np.float32 if np.issubdtype(arrays[0].dtype, np.floating) else np.int64
    stacked = np.full((len(arrays), *shape), _FILL.get(name, 0), dtype)
    for target, array in zip(stacked, arrays, strict=True):
        target[tuple(slice(n) for n in array.shape)] = array
    return stacked
