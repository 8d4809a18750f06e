"""Settings that a task's trainer takes no account of are refused: dropped in silence, they would stand in the recipe as
if they had shaped the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel

from penjing.core.errors import CapabilityError
from penjing.core.task import Task
from penjing.train.config import TrainConfig

# What a gradient trainer need not honour, and the value that asks for nothing. The loop honours the rest.
OPTIONAL = {
    "loss": "auto",
    "focal_gamma": 0.0,
    "class_weights": "none",
    "label_smoothing": 0.0,
    "token_dropout": 0.0,
    "rdrop": 0.0,
    "mixup": 0.0,
    "ngrams": False,
}
# What only a direct trainer can honour.
DIRECT = "direct"
# Settings that another setting leaves without effect: when, by what, and which.
_STEPS = (
    "epochs", "learning_rate", "batch_rows", "batch_tokens", "accumulation", "optimizer", "head_multiplier",
    "layer_decay", "weight_decay", "schedule", "warmup", "clip", "dropout", "token_dropout", "rdrop", "mixup", "ema",
    "early_stopping", "evaluations", "head_start",
)  # fmt: skip
_IDLE: tuple[tuple[Callable[[TrainConfig], bool], str, tuple[str, ...]], ...] = (
    (lambda c: c.method == "probe", "method", _STEPS),
    (lambda c: c.optimizer == "schedule-free", "optimizer", ("schedule", "ema")),
    (lambda c: c.method != "last-k", "method", ("last_k",)),
    (lambda c: c.method != "full", "method", ("frozen_layers", "train_embeddings")),
    (lambda c: c.method not in ("lora", "dora"), "method", ("adapter",)),
    (lambda c: c.loss != "focal", "loss", ("focal_gamma",)),
    (lambda c: c.pretrain.epochs == 0, "pretrain.epochs", ("pretrain",)),
)


def refuse_ignored(trainer: object, task: Task | type[Task], config: TrainConfig, model: str = "auto") -> None:
    """Refuse settings that were changed and that the task's trainer would ignore.

    Args:
        trainer: a direct or a gradient trainer; see `train/protocol.py`.
        task: what it is to learn; `calibration` has to be known.
        config: the train stage of the recipe.
        model: the recipe's pretrained model, which direct trainers have no use for.

    Raises:
        CapabilityError: the message names all of them.
    """
    honours = trainer.honours(task) if hasattr(trainer, "honours") else frozenset()
    direct = hasattr(trainer, "fit")
    ignored = [] if not direct or model == "auto" else [f"model = {model}"]
    for name in TrainConfig.model_fields:
        if name not in honours and (direct or name in OPTIONAL or name == DIRECT):
            given, default = (
                getattr(config, name),
                TrainConfig.model_fields[name].get_default(call_default_factory=True),
            )
            if direct or name not in OPTIONAL or given != OPTIONAL[name]:
                ignored += [f"train.{key} = {value}" for key, value in _changed(name, given, default)]
    if ignored:
        raise CapabilityError(
            f"{', '.join(ignored)} {'have' if len(ignored) > 1 else 'has'} no meaning for this task's trainer "
            f"({type(trainer).__name__})",
            where=task.kind,
            next_step=f"leave {'them' if len(ignored) > 1 else 'it'} out",
        )


def without_ignored(trainer: object, task: Task, config: TrainConfig) -> TrainConfig:
    """The settings as the trainer honours them: what it ignores asks for nothing, so that no report claims it."""
    honoured = trainer.honours(task) if hasattr(trainer, "honours") else frozenset()
    return config.model_copy(update={name: value for name, value in OPTIONAL.items() if name not in honoured})


def idle_settings(config: TrainConfig) -> Iterator[str]:
    """Settings that were changed and that another one leaves without effect, each with the reason, as sentences."""
    said: set[str] = set()
    for is_idle, by, names in _IDLE:
        if not is_idle(config):
            continue
        cause: Any = config
        for part in by.split("."):
            cause = getattr(cause, part)
        for name in names:
            default = TrainConfig.model_fields[name].get_default(call_default_factory=True)
            for key, value in _changed(name, getattr(config, name), default):
                if key not in said:
                    said.add(key)
                    yield f"train.{key} = {value} has no effect, because train.{by} is {cause}"


def _changed(key: str, given: Any, default: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values that are not the defaults."""
    if isinstance(given, BaseModel):
        for name in type(given).model_fields:
            yield from _changed(f"{key}.{name}", getattr(given, name), getattr(default, name))
    elif given != default:
        yield key, given
