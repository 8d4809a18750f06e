"""Tabular classification and regression: numbers, categories, dates and gaps in, a label or a number out.

The model sees one float32 matrix (`tabular_schema`); for two classes it gives the logits [0, z], so that softmax,
temperature and calibration are those of any other classifier.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from penjing.tasks.tabular_metrics import kolmogorov_smirnov, squared_errors
from penjing.tasks.tabular_schema import Column, TabularSchema, learn_schema, parse_number
from penjing.tasks.text_labels import label_cell, label_text, sort_labels
from penjing.tasks.text_single_label import SingleLabel, is_balanced, stack_probs

MAX_CLASSES = 200
TRAINER = "penjing.train.direct.boosting:BoostingTrainer"


class ClassificationState(BaseModel):
    """What an artifact keeps of a tabular classification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = Field(max_length=1000)
    labels: tuple[str, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    balanced: bool
    temperature: float = Field(gt=0, lt=1e6)
    columns: tuple[Column, ...] = Field(min_length=1)


class RegressionState(BaseModel):
    """What an artifact keeps of a tabular regression."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = Field(max_length=1000)
    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)
    columns: tuple[Column, ...] = Field(min_length=1)


@dataclass(frozen=True)
class TabularClassification:
    """Features → one label.

    Args:
        schema: how columns become features.
        decision: what the logits mean.
        label_column: column of the label; None in an artifact that only predicts.
    """

    kind: ClassVar[str] = "tabular-classification"
    trainer: ClassVar[str] = TRAINER
    calibration: ClassVar[str] = "softmax"

    schema: TabularSchema
    decision: SingleLabel
    label_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(features=self.schema.names, label=self.label_column)

    @property
    def labels(self) -> tuple[str, ...]:
        """[C] class names in the order of `probs`."""
        return self.decision.labels

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        return self.decision.temperature

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Those of any single-label classification, the Brier score, and KS for two classes."""
        more = {"brier": Metric(higher_is_better=False, percent=False)}
        return self.decision.metrics | more | ({"ks": Metric()} if len(self.labels) == 2 else {})

    @property
    def primary(self) -> str:
        """AUC for two classes (how credit scores are judged: the threshold is a business decision)."""
        return "auc" if len(self.labels) == 2 else self.decision.primary

    @property
    def signature(self) -> Signature:
        """Features in, one logit a class out."""
        return _signature(self.schema, len(self.labels))

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Needs feature columns, and 2 to 200 classes."""
        reason = _missing_roles(rows, roles)
        if reason:
            return reason
        try:
            distinct = set(_class_names(rows, roles.label))
        except DataError as error:
            return error.message
        if len(distinct) < 2:
            return f"every row of column {roles.label!r} has the same label {next(iter(distinct))!r}"
        if len(distinct) > MAX_CLASSES:
            return (
                f"column {roles.label!r} has {len(distinct):,} different labels; at most {MAX_CLASSES} can be learned"
            )
        return None

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn classes and columns from training rows.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        reason = cls.supports(rows, roles)
        if reason:
            raise CapabilityError(f"{cls.kind} cannot be learned: {reason}")
        counts = Counter(_class_names(rows, roles.label))
        decision = SingleLabel(sort_labels(counts), is_balanced(list(counts.values())))
        return cls(learn_schema(rows, roles.features), decision, roles.label)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """Every row costs the same."""
        return np.ones(len(rows), np.int64)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """`features` [N, F] float32; with `training` also `targets`, int64 [N]."""
        batch = {"features": self.schema.encode(rows)}
        if training:
            assert self.label_column is not None
            batch["targets"] = self.decision.targets(rows, self.label_column)
        return batch

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """The most probable class, with the probabilities of all."""
        return self.decision.decode(run(batch)["logits"])

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """The decision's columns, and squared [N], the row's part of the Brier score."""
        assert self.label_column is not None
        stats = self.decision.score(rows, self.label_column, predictions)
        squared = squared_errors(stats.columns["true"], stack_probs(predictions, len(self.labels)))
        return Stats({**stats.columns, "squared": squared})

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        columns = stats.columns
        metrics = self.decision.aggregate(stats)
        metrics["brier"] = float(columns["squared"].mean()) if len(stats) else float("nan")
        if len(self.labels) == 2:
            known = columns["true"] >= 0
            metrics["ks"] = kolmogorov_smirnov(columns["true"][known] == 1, columns["positive_score"][known])
        return metrics

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        return self.decision.render(prediction)

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        return ClassificationState(
            label=self.label_column,
            labels=self.labels,
            balanced=self.decision.balanced,
            temperature=self.temperature,
            columns=self.schema.columns,
        ).model_dump(mode="json")

    def files(self) -> dict[str, Path]:
        """None needed."""
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        try:
            parsed = ClassificationState.model_validate(state)
        except ValidationError as error:
            raise _damaged(error) from None
        decision = SingleLabel(parsed.labels, parsed.balanced, parsed.temperature)
        return cls(TabularSchema(parsed.columns), decision, parsed.label)

    def with_temperature(self, temperature: float) -> Self:
        """A copy whose probabilities are softer or sharper; labels stay."""
        return replace(self, decision=self.decision.with_temperature(temperature))


@dataclass(frozen=True)
class TabularRegression:
    """Features → one number. The model learns numbers of mean 0 and deviation 1; `mean` and `std` lead back.

    Args:
        schema: how columns become features.
        mean: mean of the training rows' numbers.
        std: their standard deviation.
        label_column: column of the number; None in an artifact that only predicts.
    """

    kind: ClassVar[str] = "tabular-regression"
    trainer: ClassVar[str] = TRAINER
    calibration: ClassVar[None] = None
    metrics: ClassVar[Mapping[str, Metric]] = {
        "r2": Metric(percent=False),
        "rmse": Metric(higher_is_better=False, percent=False),
        "mae": Metric(higher_is_better=False, percent=False),
    }
    primary: ClassVar[str] = "r2"
    labels: ClassVar[tuple[str, ...]] = ()
    temperature: ClassVar[float] = 1.0

    schema: TabularSchema
    mean: float
    std: float
    label_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(features=self.schema.names, label=self.label_column)

    @property
    def signature(self) -> Signature:
        """Features in, one standardised number out."""
        return _signature(self.schema, 1)

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Needs feature columns, and numbers that differ."""
        reason = _missing_roles(rows, roles)
        if reason:
            return reason
        try:
            numbers = _numbers(rows, roles.label)
        except DataError as error:
            return error.message
        return f"every row of column {roles.label!r} has the same number" if np.ptp(numbers) == 0 else None

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn columns and the scale of the numbers from training rows.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        reason = cls.supports(rows, roles)
        if reason:
            raise CapabilityError(f"{cls.kind} cannot be learned: {reason}")
        numbers = _numbers(rows, roles.label)
        return cls(learn_schema(rows, roles.features), float(numbers.mean()), float(numbers.std()), roles.label)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """Every row costs the same."""
        return np.ones(len(rows), np.int64)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """`features` [N, F] float32; with `training` also `targets`, float32 [N], standardised."""
        batch = {"features": self.schema.encode(rows)}
        if training:
            batch["targets"] = ((_numbers(rows, self.label_column) - self.mean) / self.std).astype(np.float32)
        return batch

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Back in the unit of the training rows."""
        values = run(batch)["logits"][:, 0].astype(np.float64) * self.std + self.mean
        return [Prediction(value) for value in values.tolist()]

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Columns: target and value [N], in the unit of the rows."""
        values = np.array([prediction.value for prediction in predictions], np.float64)
        return Stats({"target": _numbers(rows, self.label_column), "value": values})

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

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        state = RegressionState(label=self.label_column, mean=self.mean, std=self.std, columns=self.schema.columns)
        return state.model_dump(mode="json")

    def files(self) -> dict[str, Path]:
        """None needed."""
        return {}

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        try:
            parsed = RegressionState.model_validate(state)
        except ValidationError as error:
            raise _damaged(error) from None
        return cls(TabularSchema(parsed.columns), parsed.mean, parsed.std, parsed.label)

    def with_temperature(self, temperature: float) -> Self:
        """Numbers have no probabilities to soften.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(f"{self.kind} has no probabilities, so no temperature ({temperature})")


def _signature(schema: TabularSchema, num_outputs: int) -> Signature:
    return Signature(
        (TensorSpec("features", ("batch", len(schema.features)), "float32"),),
        (TensorSpec("logits", ("batch", num_outputs), "float32"),),
    )


def _missing_roles(rows: Sequence[Row], roles: Roles) -> str | None:
    if not rows:
        return "there are no rows"
    if roles.label is None:
        return "no column plays the role 'label'"
    return None if roles.features else "no column plays the role 'features'"


def _class_names(rows: Sequence[Row], column: str | None) -> list[str]:
    return [label_text(label_cell(row, column, i), f"row {i}") for i, row in enumerate(rows)]


def _numbers(rows: Sequence[Row], column: str | None) -> np.ndarray:
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


def _damaged(error: ValidationError) -> ArtifactError:
    return ArtifactError(f"the task's state is damaged: {' '.join(str(error).split())}")
