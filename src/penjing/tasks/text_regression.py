"""Text regression: a number for each text (stars, urgency, price)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.core.errors import ArtifactError, CapabilityError, DataError
from penjing.core.task import (
    Batch,
    Metric,
    Prediction,
    Roles,
    Row,
    Run,
    Signature,
    Stats,
    TensorSpec,
    TextSettings,
)
from penjing.tasks.text_input import TextInput, TextInputState, why_no_text
from penjing.tasks.text_labels import label_cell

MIN_ROWS = 2


class State(BaseModel):
    """What an artifact keeps of a text regression."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: TextInputState
    label: str | None = Field(max_length=1000)
    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class TextRegression:
    """A text → a number. The model learns numbers of mean 0 and deviation 1; `mean` and `std` lead back.

    Args:
        input: which column is the text, and how it becomes token ids.
        mean: mean of the training rows' numbers.
        std: their standard deviation.
        label_column: column of the number; None in an artifact that only predicts.
    """

    kind: ClassVar[str] = "text-regression"
    trainer: ClassVar[str] = "penjing.train.gradient.sequence:SequenceTrainer"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "r2": Metric(percent=False),
        "rmse": Metric(higher_is_better=False, percent=False),
        "mae": Metric(higher_is_better=False, percent=False),
        "spearman": Metric(percent=False),
    }
    calibration: ClassVar[None] = None
    primary: ClassVar[str] = "r2"
    """Orders models of one data set as RMSE does, and needs no unit when a budget names a floor."""
    labels: ClassVar[tuple[str, ...]] = ()
    temperature: ClassVar[float] = 1.0

    input: TextInput
    mean: float
    std: float
    label_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(text=self.input.text, label=self.label_column)

    @property
    def signature(self) -> Signature:
        """Token ids in, one standardised number out."""
        return Signature(self.input.specs, (TensorSpec("logits", ("batch", 1), "float32"),))

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Texts, and numbers that differ."""
        reason = why_no_text(rows, roles, pair=False)
        if reason:
            return reason
        if roles.label is None:
            return "no column plays the role 'label'"
        try:
            numbers = _numbers(rows, roles.label)
        except DataError as error:
            return error.message
        if len(numbers) < MIN_ROWS or np.ptp(numbers) == 0:
            return f"every row of column {roles.label!r} has the same number"
        return None

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn the scale of the numbers.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        reason = cls.supports(rows, roles)
        if reason:
            raise CapabilityError(f"{cls.kind} cannot be learned: {reason}")
        assert text is not None and roles.text is not None and roles.label is not None
        numbers = _numbers(rows, roles.label)
        return cls(TextInput(text, roles.text), float(numbers.mean()), float(numbers.std()), roles.label)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row."""
        return self.input.lengths(rows)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Rows → the signature's inputs; with `training` also targets, float32 [N], standardised."""
        batch = self.input.encode(rows)
        if training:
            assert self.label_column is not None
            batch["targets"] = ((_numbers(rows, self.label_column) - self.mean) / self.std).astype(np.float32)
        return batch

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """One run, back in the unit of the training rows."""
        values = run(batch)["logits"][:, 0].astype(np.float64) * self.std + self.mean
        return [Prediction(value) for value in values.tolist()]

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Columns: target and value [N], in the unit of the rows."""
        assert self.label_column is not None
        values = np.array([prediction.value for prediction in predictions], np.float64)
        return Stats({"target": _numbers(rows, self.label_column), "value": values})

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        target, value = stats.columns["target"], stats.columns["value"]
        if not len(target):
            return dict.fromkeys(self.metrics, float("nan"))
        squared = float(((value - target) ** 2).mean())
        spread = float(target.var())
        return {
            "r2": 1 - squared / spread if spread else float("nan"),
            "rmse": math.sqrt(squared),
            "mae": float(np.abs(value - target).mean()),
            "spearman": _spearman(target, value),
        }

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        return {"value": prediction.value}

    def to_state(self) -> dict[str, Any]:
        """JSON-able; the tokenizer is in `files`."""
        source = TextInputState.model_validate(self.input.to_state())
        return State(input=source, label=self.label_column, mean=self.mean, std=self.std).model_dump(mode="json")

    def files(self) -> dict[str, Path]:
        """The tokenizer."""
        return self.input.files()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        try:
            parsed = State.model_validate(state)
        except ValidationError as error:
            raise ArtifactError(f"the task's state is damaged: {' '.join(str(error).split())}") from None
        return cls(TextInput.from_state(parsed.input, directory), parsed.mean, parsed.std, parsed.label)

    def with_temperature(self, temperature: float) -> Self:
        """Numbers have no probabilities to soften.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(f"{self.kind} has no probabilities, so no temperature ({temperature})")


def _numbers(rows: Sequence[Row], column: str) -> np.ndarray:
    """[N] float64.

    Raises:
        DataError: a cell that is no finite number.
    """
    numbers = np.empty(len(rows))
    for i, row in enumerate(rows):
        cell = label_cell(row, column, i)
        try:
            numbers[i] = float(cell)
        except (TypeError, ValueError):
            numbers[i] = math.nan
        if not math.isfinite(numbers[i]):
            raise DataError(f"{column!r} is {cell!r}", where=f"row {i}", expected="a number")
    return numbers


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of ranks, ties sharing their mean rank; NaN where one side is constant."""
    ranks = []
    for values in (first, second):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    deviations = [rank - rank.mean() for rank in ranks]
    scale = math.sqrt(float(deviations[0] @ deviations[0]) * float(deviations[1] @ deviations[1]))
    return float(deviations[0] @ deviations[1] / scale) if scale else float("nan")
