"""Settings of the direct trainers."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

# Of the minutes a budget allows, the part that settings are tried in: the search ends only with the setting it is at,
# and the final fits follow.
SEARCH_SHARE = 0.5
# Trees get this part of the search's time, linear models what is then left of it.
TREE_SHARE = 0.75
TREES, LINEAR = "settings", "linear settings"  # units of progress


class DirectConfig(BaseModel):
    """How long boosted trees and linear models search for their settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int = Field(10, ge=1, le=500, description="Settings of the boosted trees that are tried.")
    seconds: float = Field(
        120.0, gt=0, description="No further settings are tried after this time; trees get three quarters."
    )
    folds: int = Field(5, ge=2, le=20, description="Folds of the cross-validation, where data is small.")
    small_rows: int = Field(20_000, ge=0, description="Up to this many rows, settings are cross-validated.")
    num_seeds: int = Field(2, ge=1, le=50, description="Boosted models of each kept setting, where data is small.")
    max_rounds: int = Field(1_500, ge=1, le=20_000, description="Greatest number of boosting rounds.")
    threads: int = Field(0, ge=0, description="Threads of the boosting library; 0: one a core, or OMP_NUM_THREADS.")

    def within(self, max_minutes: float | None) -> Self:
        """The same, with no more time to search than training for this many minutes leaves; None: no limit."""
        if max_minutes is None:
            return self
        return self.model_copy(update={"seconds": min(self.seconds, SEARCH_SHARE * 60 * max_minutes)})
