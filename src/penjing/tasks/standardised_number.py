"""A number a row: learned at mean 0 and deviation 1, given and judged in the unit of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from penjing.core.errors import CapabilityError, DataError
from penjing.core.task import Metric, Prediction, Row, Stats
from penjing.data.numbers import parse_number
from penjing.tasks.text_labels import label_cell


@dataclass(frozen=True)
class StandardisedNumber:
    """What a row's one output means when it is a number; `mean` and `std` lead back to the unit of the rows.

    Args:
        mean: mean of the training rows' numbers.
        std: their standard deviation.
    """

    calibration: ClassVar[None] = None
    metrics: ClassVar[Mapping[str, Metric]] = {
        "r2": Metric(percent=False),
        "rmse": Metric(higher_is_better=False, percent=False),
        "mae": Metric(higher_is_better=False, percent=False),
    }
    primary: ClassVar[str] = "r2"
    """Orders models of one data set as RMSE does, and needs no unit when a budget names a floor."""
    labels: ClassVar[tuple[str, ...]] = ()
    temperature: ClassVar[float] = 1.0

    mean: float
    std: float

    @classmethod
    def learn(cls, rows: Sequence[Row], column: str) -> Self:
        """The scale of the numbers in a column."""
        numbers = _numbers(rows, column)
        return cls(float(numbers.mean()), float(numbers.std()))

    def targets(self, rows: Sequence[Row], column: str) -> np.ndarray:
        """[N] float32, standardised.

        Raises:
            DataError: a cell that is no finite number.
        """
        return ((_numbers(rows, column) - self.mean) / self.std).astype(np.float32)

    def decode(self, logits: np.ndarray) -> list[Prediction]:
        """[N, 1] standardised numbers → numbers in the unit of the rows."""
        values = logits[:, 0].astype(np.float64) * self.std + self.mean
        return [Prediction(value) for value in values.tolist()]

    def score(self, rows: Sequence[Row], column: str, predictions: Sequence[Prediction]) -> Stats:
        """Columns: target and value [N], in the unit of the rows."""
        values = np.array([prediction.value for prediction in predictions], np.float64)
        return Stats({"target": _numbers(rows, column), "value": values})

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric; R² against the mean of these rows."""
        target, value = stats.columns["target"], stats.columns["value"]
        if not len(target):
            return dict.fromkeys(self.metrics, float("nan"))
        squared, spread = float(((value - target) ** 2).mean()), float(target.var())
        return {
            "r2": 1 - squared / spread if spread else float("nan"),
            "rmse": math.sqrt(squared),
            "mae": float(np.abs(value - target).mean()),
        }

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        return {"value": prediction.value}

    def with_temperature(self, temperature: float) -> Self:
        """Numbers have no probabilities to soften.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(f"a number has no probabilities, so no temperature ({temperature})")


def why_no_numbers(rows: Sequence[Row], column: str | None) -> str | None:
    """Why a column holds no numbers one could learn, for the user; None when it does."""
    if column is None:
        return "no column plays the role 'label'"
    try:
        numbers = _numbers(rows, column)
    except DataError as error:
        return error.finding
    return f"every row of column {column!r} has the same number" if np.ptp(numbers) == 0 else None


def _numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    """[N] float64.

    Raises:
        DataError: a cell that is no finite number.
    """
    numbers = np.empty(len(rows))
    for i, row in enumerate(rows):
        cell = label_cell(row, column, i)
        number = parse_number(cell)
        if number is None:
            raise DataError(f"{column!r} is {str(cell)[:60]!r}", where=f"row {i}", expected="a number")
        numbers[i] = number
    return numbers
