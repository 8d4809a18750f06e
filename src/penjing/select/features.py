"""Frozen embeddings of a sample of the user's rows, encoded in bounded time by the model that would be fine-tuned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.core import registry
from penjing.core.errors import MissingExtraError
from penjing.core.events import Listener, Progress
from penjing.core.task import Splits, Table, Task, TextSettings
from penjing.models.pretrained import Pretrained
from penjing.select.stopwatch import Stopwatch

if TYPE_CHECKING:
    import torch

    from penjing.train.config import TrainConfig

CHUNK_ROWS = 256
PILOT_ROWS = 32
MIN_ROWS = 64


@dataclass(frozen=True)
class Features:
    """Embeddings and targets of the first rows of a table.

    Args:
        features_NH: [N, H] float32 tensor, the inputs of the head.
        targets: [N] or [N, C] tensor, as the task encodes them.
        rows_per_s: raw rows to embeddings, in batches, on this machine with torch.
        trainer: the trainer whose `objective` a probe minimises.
    """

    features_NH: torch.Tensor
    targets: torch.Tensor
    rows_per_s: float
    trainer: Any = field(repr=False)

    def __len__(self) -> int:
        return len(self.features_NH)


def make_task(splits: Splits, kind: str, pretrained: Pretrained | None, max_length: int | None) -> Task:
    """A task over the rows of train and valid, so that no label is unknown in cross-validation."""
    settings = None
    if pretrained is not None:
        longest = min(max_length or 256, pretrained.max_length)
        settings = TextSettings(pretrained.directory / "tokenizer.json", longest, pretrained.prefix)
    rows = [*splits.train.rows, *splits.valid.rows]
    task: Task = registry.resolve("tasks", kind).from_rows(rows, splits.roles, settings)
    return task


def has_features(task: Task) -> bool:
    """Whether the task's trainer gives one vector a row, on which a linear probe can be fitted."""
    return hasattr(registry.load(task.trainer), "features")


def encode_sample(
    task: Task,
    table: Table,
    pretrained: Pretrained,
    config: TrainConfig,
    *,
    device: str,
    seed: int,
    watch: Stopwatch,
    listener: Listener,
) -> Features:
    """Encode as many rows of a table, from its beginning, as the time allows (64 at least).

    Args:
        task: see `make_task`.
        table: rows in random order.
        pretrained: the frozen encoder.
        config: settings of the fine-tuning; its loss is the probe's.
        device: a torch device.
        seed: of what the trainer initialises.
        watch: the time allowed.
        listener: told of progress.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "train") from None
    from penjing.train.head_start import extract_features
    from penjing.train.precision import choose_dtype

    trainer = registry.load(task.trainer)()
    model = trainer.build_model(task, pretrained, config, seed).requires_grad_(False)
    model.to(device).to(choose_dtype("auto", device))
    _encode(extract_features, trainer, model, task, table.take(range(min(len(table), PILOT_ROWS))), device)  # warms up
    encoded: list[tuple[torch.Tensor, torch.Tensor]] = []
    done, spent = 0, Stopwatch(0.0)
    while done < len(table):
        chunk = table.take(range(done, min(done + _chunk(done, spent, watch), len(table))))
        if not len(chunk):
            break
        encoded.append(_encode(extract_features, trainer, model, task, chunk, device))
        done += len(chunk)
        listener(Progress("select", done, len(table), "rows", note=f"encoding with {pretrained.name}"))
    features, targets = (torch.cat(parts) for parts in zip(*encoded, strict=True))
    return Features(features, targets, done / max(spent.spent, 1e-9), trainer)


def _chunk(done: int, spent: Stopwatch, watch: Stopwatch) -> int:
    """Rows of the next chunk: as many as fit the time left, by the rate so far; 0 when time is up."""
    if done < MIN_ROWS:
        return MIN_ROWS
    rate = done / max(spent.spent, 1e-9)
    return int(min(CHUNK_ROWS, rate * watch.left))


def _encode(
    extract: Any, trainer: Any, model: torch.nn.Module, task: Task, table: Table, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    found = None
    for event in extract(trainer, model, task, table, device):
        if isinstance(event, tuple):
            found = event
    assert found is not None, "the extraction ends with its result"
    return found


def to_numpy(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """([N, H] float32, targets) as arrays."""
    return features.features_NH.cpu().numpy(), features.targets.cpu().numpy()
