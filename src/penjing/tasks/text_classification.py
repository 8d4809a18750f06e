"""Text classification: one label of several, or any number of labels, for each text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penjing.core.errors import ArtifactError, CapabilityError
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
from penjing.tasks.text_labels import (
    MAX_LABELS,
    is_multi_label,
    label_cell,
    label_list,
    label_text,
    sort_labels,
    why_not_classes,
)
from penjing.tasks.text_multi_label import DEFAULT_THRESHOLD, MultiLabel
from penjing.tasks.text_single_label import SingleLabel, is_balanced


class State(BaseModel):
    """What an artifact keeps of a text classification; thresholds only where a row may have several labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: TextInputState
    label: str | None = Field(max_length=1000)
    labels: tuple[str, ...] = Field(min_length=1, max_length=MAX_LABELS)
    temperature: float = Field(gt=0, lt=1e6)
    balanced: bool | None = None
    thresholds: tuple[float, ...] | None = None
    at_least_one: bool | None = None

    def decision(self) -> SingleLabel | MultiLabel:
        """How logits become labels."""
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("the same label twice")
        if self.thresholds is None:
            if len(self.labels) < 2:
                raise ValueError("a single label")
            return SingleLabel(self.labels, bool(self.balanced), self.temperature)
        if len(self.thresholds) != len(self.labels) or not all(0 < value < 1 for value in self.thresholds):
            raise ValueError("thresholds that do not fit the labels")
        return MultiLabel(self.labels, self.thresholds, bool(self.at_least_one), self.temperature)


@dataclass(frozen=True)
class TextClassification:
    """A text → a label, or a list of labels.

    Args:
        input: which column is the text, and how it becomes token ids.
        decision: what the logits mean.
        label_column: column of the label (a list where several apply); None in an artifact that only predicts.
    """

    kind: ClassVar[str] = "text-classification"
    trainer: ClassVar[str] = "penjing.train.gradient.sequence:SequenceTrainer"
    reads_pairs: ClassVar[bool] = False

    input: TextInput
    decision: SingleLabel | MultiLabel
    label_column: str | None

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(text=self.input.text, text_pair=self.input.text_pair, label=self.label_column)

    @property
    def labels(self) -> tuple[str, ...]:
        """[C] class names in the order of `probs`."""
        return self.decision.labels

    @property
    def temperature(self) -> float:
        """Divides the logits."""
        return self.decision.temperature

    @property
    def multi_label(self) -> bool:
        """Whether a row may have several labels."""
        return isinstance(self.decision, MultiLabel)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What `aggregate` returns."""
        return self.decision.metrics

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return self.decision.primary

    @property
    def calibration(self) -> Literal["softmax", "sigmoid"]:
        """How `probs` come from scores."""
        return self.decision.calibration

    @property
    def signature(self) -> Signature:
        """Token ids in, one logit a class out."""
        return Signature(self.input.specs, (TensorSpec("logits", ("batch", len(self.labels)), "float32"),))

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Texts, and at least two classes (or lists of labels)."""
        return why_no_text(rows, roles, pair=cls.reads_pairs) or why_not_classes(rows, roles)

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Self:
        """Learn the classes and how even they are.

        Raises:
            CapabilityError: these rows cannot be learned; the message says why.
        """
        reason = cls.supports(rows, roles)
        if reason:
            raise CapabilityError(f"{cls.kind} cannot be learned: {reason}")
        assert text is not None and roles.text is not None and roles.label is not None
        source = TextInput(text, roles.text, roles.text_pair if cls.reads_pairs else None)
        return cls(source, _learn_decision(rows, roles.label), roles.label)

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] tokens a row."""
        return self.input.lengths(rows)

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Rows → the signature's inputs; with `training` targets too: int64 [N], or float32 [N, C] (several labels)."""
        batch = self.input.encode(rows)
        if training:
            assert self.label_column is not None
            batch["targets"] = self.decision.targets(rows, self.label_column)
        return batch

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """One run, decoded."""
        return self.decision.decode(run(batch)["logits"])

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Per-row statistics; see the decision."""
        assert self.label_column is not None
        return self.decision.score(rows, self.label_column, predictions)

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        return self.decision.aggregate(stats)

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """JSON-able."""
        return self.decision.render(prediction)

    def to_state(self) -> dict[str, Any]:
        """JSON-able; the tokenizer is in `files`."""
        decision = self.decision
        state = State(
            input=TextInputState.model_validate(self.input.to_state()),
            label=self.label_column,
            labels=decision.labels,
            temperature=decision.temperature,
            balanced=decision.balanced if isinstance(decision, SingleLabel) else None,
            thresholds=decision.thresholds if isinstance(decision, MultiLabel) else None,
            at_least_one=decision.at_least_one if isinstance(decision, MultiLabel) else None,
        )
        return state.model_dump(mode="json")

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
            if cls.reads_pairs != (parsed.input.text_pair is not None):
                raise ValueError("text columns of another task kind")
            return cls(TextInput.from_state(parsed.input, directory), parsed.decision(), parsed.label)
        except (ValidationError, ValueError) as error:
            raise ArtifactError(f"the task's state is damaged: {' '.join(str(error).split())}") from None

    def with_temperature(self, temperature: float) -> Self:
        """A copy whose probabilities are softer or sharper; labels stay."""
        return replace(self, decision=self.decision.with_temperature(temperature))

    def fit_decision(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Self:
        """A copy whose decision rule is chosen on validation rows: thresholds, where a row may have several labels.

        Args:
            rows: validation rows, with labels.
            predictions: what this task, at its temperature, predicts for them.

        Returns:
            Itself where there is nothing to choose: the most probable of exclusive labels is always right to give.
        """
        if not isinstance(self.decision, MultiLabel):
            return self
        assert self.label_column is not None
        return replace(self, decision=self.decision.fit_to(rows, self.label_column, predictions))

    def with_thresholds(self, thresholds: Sequence[float]) -> Self:
        """A copy that gives labels from other probabilities on.

        Raises:
            CapabilityError: rows have exactly one label, or the thresholds do not fit the labels.
        """
        if not isinstance(self.decision, MultiLabel):
            raise CapabilityError("thresholds belong to tasks whose rows may have several labels")
        return replace(self, decision=self.decision.with_thresholds(thresholds))


def _learn_decision(rows: Sequence[Row], column: str) -> SingleLabel | MultiLabel:
    cells = [label_cell(row, column, i) for i, row in enumerate(rows)]
    if is_multi_label(rows, column):
        names = [label_list(cell, f"row {i}") for i, cell in enumerate(cells)]
        labels = sort_labels(name for row in names for name in row)
        return MultiLabel(labels, (DEFAULT_THRESHOLD,) * len(labels), at_least_one=all(names))
    counts = Counter(label_text(cell, f"row {i}") for i, cell in enumerate(cells))
    return SingleLabel(sort_labels(counts), balanced=is_balanced(list(counts.values())))
