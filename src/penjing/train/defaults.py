"""The values behind every "None: by default" of `TrainConfig`.

The rate of full fine-tuning was compared on validation rows of five data sets, the passes on those of two; the rates of
adapters and probes are conventions of the field (docs/decisions/0014-defaults-by-validation.md).
"""

from __future__ import annotations

from penjing.train.config import TrainConfig

_LEARNING_RATE = {"full": 2e-4, "last-k": 2e-4, "lora": 1e-3, "dora": 1e-3, "ia3": 5e-3, "probe": 1e-3}
_WIDTH = 384  # of the models on which the rate of full fine-tuning was compared
_MIN_STEPS = 1000  # small data gets more passes


def resolve_train(config: TrainConfig, *, num_rows: int, width: int) -> TrainConfig:
    """Fill in what depends on the data and the model.

    Args:
        config: as the user gave it.
        num_rows: training rows.
        width: hidden width of the encoder; wider encoders want smaller rates, about as 1 / width.
    """
    changes: dict[str, float] = {}
    if config.learning_rate is None:
        changes["learning_rate"] = _LEARNING_RATE[config.method] * min(1.0, _WIDTH / width)
    if config.epochs is None:
        changes["epochs"] = default_epochs(num_rows, config.batch_rows * config.accumulation)
    return config.model_copy(update=changes)


def default_epochs(num_rows: int, batch_rows: int) -> int:
    """4 passes, and as many as `_MIN_STEPS` steps take where rows are few, 10 at most."""
    steps = max(1, num_rows // batch_rows)
    return max(4 if num_rows < 20_000 else 3, min(10, -(-_MIN_STEPS // steps)))
