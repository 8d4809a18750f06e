"""How far the answers of a quantized model may be from its source's, and the settings that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import Field

if TYPE_CHECKING:
    from penjing.compress.drift import Drift


@dataclass(frozen=True)
class Tolerance:
    """How far answers may be off; see `Drift`.

    Args:
        mean: on average.
        max: of any row.
        keep_at_most: products that may keep a higher precision to be near enough.
    """

    mean: float
    max: float
    keep_at_most: int

    def allows(self, drift: Drift) -> bool:
        """Whether it is near enough."""
        return drift.mean <= self.mean and drift.max <= self.max


def mean_field(default: float) -> Any:
    """The setting of `Tolerance.mean`."""
    text = "How far probabilities (of other outputs: quarters of a deviation) may be off on average."
    return Field(default, gt=0, description=text)


def max_field(default: float) -> Any:
    """The setting of `Tolerance.max`."""
    return Field(default, gt=0, description="How far they may be off on any row.")


def kept_field(default: int, bits: int) -> Any:
    """The setting of how many products may keep the higher precision."""
    text = f"Operators that may stay in {bits} bits to be near enough."
    return Field(default, ge=0, le=1000, description=text)
