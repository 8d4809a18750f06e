"""The `evaluate` key of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EvaluateConfig(BaseModel):
    """How the test rows are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples behind every interval.")
    level: float = Field(0.95, gt=0.5, lt=1, description="Confidence level of the intervals.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seeds the resampling.")
    slices: tuple[str, ...] = Field((), max_length=20, description="Columns to report by, beside length and class.")
    group: str | None = Field(
        None, max_length=1000, description="Column whose rows are resampled together, as they are not independent."
    )
    max_slice_values: int = Field(12, ge=2, le=100, description="Categories shown of one column, largest first.")
    min_slice_rows: int = Field(30, ge=2, description="Slices and classes with fewer rows are flagged as too small.")
    num_mistakes: int = Field(20, ge=0, le=1000, description="Worst mistakes the report quotes; 0 quotes none.")
    calibrate: bool = Field(True, description="Fit a temperature on the validation rows and store it in the artifact.")
