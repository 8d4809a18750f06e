"""The values behind every "None: by default" of `TrainConfig`.

The rate of full fine-tuning was compared on validation rows of five data sets, that of pairs on one, the passes on two;
the rates of adapters and probes are conventions of the field (docs/decisions/0014-defaults-by-validation.md).
"""

from __future__ import annotations

from penjing.core.task import Task
from penjing.train.config import TrainConfig

_LEARNING_RATE = {"full": 2e-4, "last-k": 2e-4, "lora": 1e-3, "dora": 1e-3, "ia3": 5e-3, "probe": 1e-3}
# Over AdamW's, by optimizer: rules of thumb, not compared here. Lion's signs move every weight by all of the rate,
# Adafactor multiplies it by the weights' size (about 1/30), SGD by gradients whose norm is clipped to 1.
_RATE_OVER_ADAMW = {"adamw": 1.0, "schedule-free": 3.0, "lion": 0.3, "adafactor": 30.0, "sgd": 500.0}
_PAIR_RATE = 0.5
_WIDTH = 384  # of the models on which the rate of full fine-tuning was compared
_MIN_STEPS = 1000  # small data gets more passes


def resolve_train(config: TrainConfig, task: Task, *, num_rows: int, width: int) -> TrainConfig:
    """Fill in what depends on the task, the data and the model.

    Args:
        config: as the user gave it.
        task: what is learned; pairs of texts want a smaller rate than texts.
        num_rows: training rows.
        width: hidden width of the encoder; wider encoders want smaller rates, about as 1 / width.
    """
    changes: dict[str, float] = {}
    if config.learning_rate is None:
        rate = _LEARNING_RATE[config.method] * _RATE_OVER_ADAMW[config.optimizer]
        pair = 1.0 if task.roles.text_pair is None else _PAIR_RATE
        changes["learning_rate"] = rate * pair * min(1.0, _WIDTH / width)
    if config.epochs is None:
        changes["epochs"] = default_epochs(num_rows, config.batch_rows * config.accumulation)
    return config.model_copy(update=changes)


def default_epochs(num_rows: int, batch_rows: int) -> int:
    """4 passes, and as many as `_MIN_STEPS` steps take where rows are few, 10 at most."""
    steps = max(1, num_rows // batch_rows)
    return max(4 if num_rows < 20_000 else 3, min(10, -(-_MIN_STEPS // steps)))
