"""The `select` key of a recipe: how a pretrained model is chosen and a quote is made."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PriceConfig(BaseModel):
    """What a rented machine costs; the defaults are the assumptions in `select/price.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_month: float | None = Field(None, ge=0, description="A 2-core machine a month in US dollars; None: assumed.")
    cny_month: float | None = Field(None, ge=0, description="The same in renminbi; None: assumed.")
    rows_per_month: float = Field(1_000_000, gt=0, description="Traffic: rows (messages) to predict in a month.")
    peak_factor: float = Field(5.0, ge=1, description="The busiest minute over the mean: machines are sized for it.")
    utilisation: float = Field(
        0.5, gt=0, le=1, description="Share of the measured rows/s one plans to use at the peak."
    )


class SelectConfig(BaseModel):
    """How candidates are compared, and how much time a quote may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[str, ...] | None = Field(
        None, min_length=1, max_length=50, description="Model names to compare; None: the catalog and 'scratch'."
    )
    offline: bool = Field(False, description="Compare only models that are on this machine.")
    sample_rows: int = Field(2_000, ge=20, le=50_000, description="Labelled rows looked at, at most.")
    folds: int = Field(5, ge=2, le=20, description="Folds of the probe's cross-validation.")
    model_seconds: float = Field(60.0, ge=5, le=3_600, description="Wall time that one candidate may take, in s.")
    quote_seconds: float = Field(60.0, ge=10, le=3_600, description="Wall time that a quote may take, in s.")
    level: float = Field(0.9, gt=0.5, lt=1, description="How often the intervals of a quote should hold.")
    price: PriceConfig = Field(default_factory=PriceConfig, description="For the monthly cost.")
