"""Supervised tasks: an input, a decision, and the column that holds what is learned.

Most kinds of task are no more than that: a `TextInput` or a `TabularSchema` says what the model reads; a `SingleLabel`,
`MultiLabel` or `StandardisedNumber` says what its output means and how that is judged. A kind adds which rows it can
learn, how it learns the two halves from them, and its state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np

from penjing.core.errors import CapabilityError
from penjing.core.task import (
    Batch,
    Metric,
    Prediction,
    Roles,
    Row,
    Run,
    Signature,
    Stats,
    Task,
    TensorSpec,
    TextSettings,
)
from penjing.tasks.standardised_number import StandardisedNumber
from penjing.tasks.tabular_schema import TabularSchema
from penjing.tasks.text_input import TextInput
from penjing.tasks.text_multi_label import MultiLabel
from penjing.tasks.text_single_label import SingleLabel

InputT = TypeVar("InputT", bound=TextInput | TabularSchema)
DecisionT = TypeVar("DecisionT", bound=SingleLabel | MultiLabel | StandardisedNumber)


def require_support(task: type[Task], rows: Sequence[Row], roles: Roles) -> None:
    """Do nothing where a kind of task can learn these rows.

    Raises:
        CapabilityError: it cannot; the message says why.
    """
    reason = task.supports(rows, roles)
    if reason:
        raise CapabilityError(f"{task.kind} cannot be learned: {reason}")


@dataclass(frozen=True)
class Supervised(ABC, Generic[InputT, DecisionT]):
    """A `Task` but for `supports`, `to_state`, `from_state` and `_learn`, which each kind has its own of.

    Args:
        input: which columns are read, and how they become arrays.
        decision: what the model's outputs mean.
        label_column: column of what is learned; None in an artifact that only predicts.
    """

    kind: ClassVar[str]
    trainer: ClassVar[str]

    input: InputT
    decision: DecisionT
    label_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return replace(self.input.roles, label=self.label_column)

    @property
    def labels(self) -> tuple[str, ...]:
        """[C] class names in the order of `probs`; none for a number."""
        return self.decision.labels

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        return self.decision.temperature

    @property
    def calibration(self) -> Literal["softmax", "sigmoid"] | None:
        """How `probs` come from logits; None: there are none."""
        return self.decision.calibration

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What `aggregate` returns."""
        return self.decision.metrics

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return self.decision.primary

    @property
    def signature(self) -> Signature:
        """The input's arrays in; one logit a class, or one standardised number, out."""
        outputs = (TensorSpec("logits", ("batch", len(self.labels) or 1), "float32"),)
        return Signature(self.input.specs, outputs, self.input.longest)

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn the input and the decision from training rows.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        require_support(cls, rows, roles)
        return cls(*cls._learn(rows, roles, text), roles.label)

    @classmethod
    @abstractmethod
    def _learn(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> tuple[InputT, DecisionT]:
        """Input and decision from rows that are supported."""

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row; ones where every row costs the same."""
        return self.input.lengths(rows)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Rows → the signature's inputs; with `training` also `targets`, as the decision gives them.

        Raises:
            DataError: a cell that cannot be read, with its row.
        """
        batch = self.input.encode(rows, again=training)
        if training:
            assert self.label_column is not None
            batch["targets"] = self.decision.targets(rows, self.label_column)
        return batch

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """One run, decoded."""
        return self.decision.decode(run(batch)["logits"])

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Statistics a row; see the decision."""
        assert self.label_column is not None
        return self.decision.score(rows, self.label_column, predictions)

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        return self.decision.aggregate(stats)

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        return self.decision.render(prediction)

    def files(self) -> dict[str, Path]:
        """What the input needs beside the state."""
        return self.input.files()

    def with_temperature(self, temperature: float) -> Self:
        """A copy whose probabilities are softer or sharper; labels stay.

        Raises:
            CapabilityError: there are no probabilities.
        """
        return replace(self, decision=self.decision.with_temperature(temperature))
