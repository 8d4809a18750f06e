"""Settings for a model that starts from random weights instead of pretrained ones."""

from __future__ import annotations

from penjing.core.task import Task
from penjing.models.pretrained import Pretrained
from penjing.models.scratch import NAME as SCRATCH
from penjing.train.config import TrainConfig
from penjing.train.defaults import resolve_train


def starts_at_random(pretrained: Pretrained) -> bool:
    """Whether there is nothing in the weights yet."""
    return pretrained.name == SCRATCH


def resolve_for(config: TrainConfig, task: Task, pretrained: Pretrained, *, num_rows: int) -> TrainConfig:
    """`resolve_train` for a model: of random weights all are trained, the vectors of words and the lowest layers too.

    Args:
        config: as the user gave it; layers asked to be frozen stay so, with the vectors of words.
        task: what is learned.
        pretrained: what training starts from.
        num_rows: training rows.
    """
    if starts_at_random(pretrained) and config.method == "full" and not config.frozen_layers:
        config = config.model_copy(update={"train_embeddings": True})
    return resolve_train(config, task, num_rows=num_rows, width=pretrained.dimension)
