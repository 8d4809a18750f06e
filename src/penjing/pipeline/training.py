"""The train stage of a run: a model for the task, exported to ONNX, whatever kind of trainer the task names."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from penjing.core import registry
from penjing.core.errors import DataError, MissingExtraError
from penjing.core.events import Event, Listener, Notice
from penjing.core.memory import release_freed
from penjing.core.recipe import Recipe
from penjing.core.task import Table, Task, TextSettings
from penjing.data.prepare import Prepared
from penjing.models.pretrained import Pretrained
from penjing.predict.task_file import ENCODER_CONFIG, MODEL_FILE
from penjing.train.config import TrainConfig
from penjing.train.honours import refuse_ignored

# Of the minutes a budget allows, the part that continued pretraining may take: what it gives is lost again where
# fine-tuning is cut short.
PRETRAIN_SHARE = 0.5
Result = TypeVar("Result")


@dataclass(frozen=True)
class Trained:
    """What training left in the artifact's directory, and what is known of it.

    Args:
        minutes: wall time of training, continued pretraining included.
        samples_per_s: training rows a second; None for direct trainers.
        history: one entry an evaluation on the validation rows.
        facts: for the report (method, parameters, parity of the export).
        config: the train stage with every default resolved; None where nothing was left to resolve.
    """

    minutes: float
    samples_per_s: float | None
    history: list[dict[str, float]]
    facts: dict[str, Any] = field(default_factory=dict)
    config: TrainConfig | None = None


def build_task(prepared: Prepared, pretrained: Pretrained | None, max_length: int | None) -> Task:
    """The task of a recipe, its schema learned from the training rows.

    Raises:
        DataError: a feature of a validation or test row cannot be read; said now, not after training.
    """
    kind = registry.resolve("tasks", prepared.task_kind)
    splits = prepared.splits
    settings = None
    if pretrained is not None:
        longest = min(max_length or 256, pretrained.max_length)
        settings = TextSettings(pretrained.directory / "tokenizer.json", longest, pretrained.prefix)
    task: Task = kind.from_rows(splits.train.rows, splits.roles, settings)
    if splits.roles.features:
        for part in (splits.valid, splits.sealed_test):
            _require_readable(task, part)
    return task


def _require_readable(task: Task, part: Table) -> None:
    try:
        task.encode(part.rows)
    except DataError as error:
        for row, row_id in zip(part.rows, part.row_ids, strict=True):
            try:
                task.encode([row])
            except DataError as found:
                raise DataError(found.what, where=row_id, expected=found.expected, next_step=found.next_step) from None
        raise error


def train_gradient(
    recipe: Recipe,
    prepared: Prepared,
    task: Task,
    pretrained: Pretrained,
    training: Path,
    stage: Path,
    listener: Listener,
) -> Trained:
    """Fine-tune by gradient descent and export."""
    try:
        import torch  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError("torch", "train") from None
    from penjing.core.runtime import Runtime
    from penjing.export.onnx import check_parity, export_onnx
    from penjing.train.fit import WEIGHTS, fit
    from penjing.train.gradient.sequence import describe
    from penjing.train.pretrain import pretrain_encoder

    config, export = recipe.stage("train"), recipe.stage("export")
    runtime = Runtime.detect()
    minutes, encoder_state, spent_seconds = recipe.budget.train_minutes, None, 0.0
    if config.pretrain.epochs:
        texts = [*prepared.splits.train.rows, *prepared.unlabelled.rows]
        adapted = exhaust(
            pretrain_encoder(
                task,
                texts,
                pretrained,
                config,
                training,
                runtime,
                seed=recipe.seed,
                max_minutes=None if minutes is None else PRETRAIN_SHARE * minutes,
            ),
            listener,
        )
        encoder_state, spent_seconds = adapted.path, adapted.seconds
        release_freed()
    result = exhaust(
        fit(
            task,
            prepared.splits,
            pretrained,
            config,
            training,
            runtime,
            seed=recipe.seed,
            encoder_state=encoder_state,
            spent_seconds=spent_seconds,
            max_minutes=minutes,
        ),
        listener,
    )
    release_freed()
    listener(Notice("export", "writing the model as ONNX and comparing it with the trained one"))
    splits = prepared.splits
    rows = (splits.valid.rows or splits.train.rows)[: export.parity_rows]
    export_onnx(result.model, task, rows, stage / MODEL_FILE, opset=export.opset)
    parity = check_parity(result.model, task, rows, stage / MODEL_FILE, export.tolerance)
    shutil.copyfile(training / WEIGHTS, stage / WEIGHTS)
    if (pretrained.directory / "config.json").is_file():
        shutil.copyfile(pretrained.directory / "config.json", stage / ENCODER_CONFIG)
    release_freed()
    sizes = describe(result.model)
    facts = {
        **sizes,
        "trainable": result.trainable,
        "method": f"{config.method} + n-grams" if sizes["ngrams"] else config.method,
        "train": result.config.model_dump(mode="json"),
        "peak_mb": round(result.peak_mb, 1),
        "accelerator": runtime.accelerator,
        "parity": {"rows": parity.rows, "max_difference": parity.max_difference},
    }
    return Trained(result.minutes, result.samples_per_s, result.history, facts, result.config)


def refuse_settings(recipe: Recipe, task_kind: str) -> None:
    """Refuse what a direct trainer would ignore before anything is chosen or measured; `fit` does so for gradients.

    Raises:
        CapabilityError: the message names every such setting.
    """
    kind: type[Task] = registry.resolve("tasks", task_kind)
    if is_direct(kind):
        refuse_ignored(registry.load(kind.trainer)(), kind, recipe.stage("train"), recipe.model)


def train_direct(recipe: Recipe, prepared: Prepared, task: Task, stage: Path, listener: Listener) -> Trained:
    """Fit in one call and export.

    Raises:
        CapabilityError: the recipe sets what the task's trainer would ignore.
    """
    refuse_settings(recipe, task.kind)
    config = recipe.stage("train").direct.within(recipe.budget.train_minutes)
    trainer = registry.load(task.trainer)()
    splits = prepared.splits
    begun = time.monotonic()
    model = trainer.fit(task, splits.train, splits.valid, config, seed=recipe.seed, listener=listener)
    minutes = (time.monotonic() - begun) / 60
    model.save(stage)
    model.export_onnx(stage / MODEL_FILE)
    return Trained(minutes, None, [], {"method": trainer.__class__.__name__})


def is_direct(task: Task | type[Task]) -> bool:
    """Whether the task's trainer fits in one call, without a pretrained model."""
    return hasattr(registry.load(task.trainer), "fit")


def exhaust(work: Generator[Event, None, Result], listener: Listener) -> Result:
    """Run a generator of events to its end and return its result."""
    while True:
        try:
            listener(next(work))
        except StopIteration as stop:
            result: Result = stop.value
            return result
