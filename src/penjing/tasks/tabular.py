"""Tabular classification and regression: numbers, categories, dates and gaps in, a label or a number out.

The model sees one float32 matrix (`tabular_schema`); for two classes it gives the logits [0, z], so that softmax,
temperature and calibration are those of any other classifier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from penjing.core.errors import DataError
from penjing.core.task import Metric, Prediction, Roles, Row, Stats, TextSettings
from penjing.tasks.metrics import mean
from penjing.tasks.standardised_number import StandardisedNumber, why_no_numbers
from penjing.tasks.state import TaskState
from penjing.tasks.supervised import Supervised
from penjing.tasks.tabular_metrics import kolmogorov_smirnov, squared_errors
from penjing.tasks.tabular_schema import Column, TabularSchema, learn_schema
from penjing.tasks.text_labels import label_names
from penjing.tasks.text_single_label import SingleLabel, stack_probs

MAX_CLASSES = 200
TRAINER = "penjing.train.direct.boosting:BoostingTrainer"


class ClassificationState(TaskState):
    """What an artifact keeps of a tabular classification."""

    label: str | None = Field(max_length=1000)
    labels: tuple[str, ...] = Field(min_length=2, max_length=MAX_CLASSES)
    balanced: bool
    temperature: float = Field(gt=0, lt=1e6)
    columns: tuple[Column, ...] = Field(min_length=1)


class RegressionState(TaskState):
    """What an artifact keeps of a tabular regression."""

    label: str | None = Field(max_length=1000)
    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)
    columns: tuple[Column, ...] = Field(min_length=1)


class TabularClassification(Supervised[TabularSchema, SingleLabel]):
    """Features → one label."""

    kind: ClassVar[str] = "tabular-classification"
    trainer: ClassVar[str] = TRAINER

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Those of any single-label classification, the Brier score, and KS for two classes."""
        more = {"brier": Metric(higher_is_better=False, percent=False)}
        return self.decision.metrics | more | ({"ks": Metric()} if len(self.labels) == 2 else {})

    @property
    def primary(self) -> str:
        """AUC for two classes (how credit scores are judged: the threshold is a business decision)."""
        return "auc" if len(self.labels) == 2 else self.decision.primary

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Needs feature columns, and 2 to 200 classes."""
        reason = _missing_roles(rows, roles)
        if reason:
            return reason
        try:
            distinct = set(label_names(rows, roles.label))
        except DataError as error:
            return error.finding
        if len(distinct) < 2:
            return f"every row of column {roles.label!r} has the same label {next(iter(distinct))!r}"
        if len(distinct) > MAX_CLASSES:
            return (
                f"column {roles.label!r} has {len(distinct):,} different labels; at most {MAX_CLASSES} can be learned"
            )
        return None

    @classmethod
    def _learn(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> tuple[TabularSchema, SingleLabel]:
        return learn_schema(rows, roles.features), SingleLabel.learn(label_names(rows, roles.label))

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """The decision's columns, and squared [N], the row's part of the Brier score."""
        stats = super().score(rows, predictions)
        squared = squared_errors(stats.columns["true"], stack_probs(predictions, len(self.labels)))
        return Stats({**stats.columns, "squared": squared})

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        columns = stats.columns
        metrics = {**super().aggregate(stats), "brier": mean(columns["squared"])}
        if len(self.labels) == 2:
            known = columns["true"] >= 0
            metrics["ks"] = kolmogorov_smirnov(columns["true"][known] == 1, columns["positive_score"][known])
        return metrics

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        return ClassificationState(
            label=self.label_column,
            labels=self.labels,
            balanced=self.decision.balanced,
            temperature=self.temperature,
            columns=self.input.columns,
        ).to_json()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        kept = ClassificationState.read(state)
        decision = SingleLabel(kept.labels, kept.balanced, kept.temperature)
        return cls(TabularSchema(kept.columns), decision, kept.label)


class TabularRegression(Supervised[TabularSchema, StandardisedNumber]):
    """Features → one number."""

    kind: ClassVar[str] = "tabular-regression"
    trainer: ClassVar[str] = TRAINER

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Needs feature columns, and numbers that differ."""
        return _missing_roles(rows, roles) or why_no_numbers(rows, roles.label)

    @classmethod
    def _learn(
        cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None
    ) -> tuple[TabularSchema, StandardisedNumber]:
        assert roles.label is not None
        return learn_schema(rows, roles.features), StandardisedNumber.learn(rows, roles.label)

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        number = self.decision
        return RegressionState(
            label=self.label_column, mean=number.mean, std=number.std, columns=self.input.columns
        ).to_json()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        kept = RegressionState.read(state)
        return cls(TabularSchema(kept.columns), StandardisedNumber(kept.mean, kept.std), kept.label)


def _missing_roles(rows: Sequence[Row], roles: Roles) -> str | None:
    if not rows:
        return "there are no rows"
    if roles.label is None:
        return "no column plays the role 'label'"
    return None if roles.features else "no column plays the role 'features'"
