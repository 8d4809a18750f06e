"""The pot: what the model must fit. Every stage may read it; the report gives the verdict on it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Budget(BaseModel):
    """Limits on quality, speed, size and training time; what is None is not limited."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: float | None = Field(
        None,
        description="Worst acceptable value of the task's primary metric: a floor, or a ceiling where less is better. "
        "In percent (90 = 90%) where reports show it so (accuracy, F1, AUC); else as it is (R² of regression: 0.8).",
    )
    drop: float | None = Field(
        None,
        ge=0,
        description="Greatest allowed loss of the primary metric, on the same scale: points of percent, or R².",
    )
    p95_ms: float | None = Field(None, gt=0, description="95th percentile of latency in ms, at `concurrency`.")
    concurrency: int = Field(1, ge=1, description="Simultaneous callers at which latency is measured.")
    rows_per_s: float | None = Field(None, gt=0, description="Least throughput in rows a second, text to label.")
    size_mb: float | None = Field(None, gt=0, description="Bytes on disk that predicting needs, in MB (10^6).")
    ram_mb: float | None = Field(None, gt=0, description="Peak resident memory of a predicting process, in MB.")
    train_minutes: float | None = Field(
        None, gt=0, description="Wall time allowed for training, continued pretraining included, in minutes."
    )
