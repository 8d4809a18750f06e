"""Text classification: one label of several, or any number of labels, for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from penjing.core.errors import CapabilityError
from penjing.core.task import Prediction, Roles, Row, TextSettings
from penjing.tasks.state import TaskState, damaged
from penjing.tasks.supervised import Supervised
from penjing.tasks.text_input import TextInput, TextInputState, why_no_text
from penjing.tasks.text_labels import MAX_LABELS, is_multi_label, label_names, label_sets, why_not_classes
from penjing.tasks.text_multi_label import MultiLabel
from penjing.tasks.text_single_label import SingleLabel


class State(TaskState):
    """What an artifact keeps of a text classification; thresholds only where a row may have several labels."""

    input: TextInputState
    label: str | None = Field(max_length=1000)
    labels: tuple[str, ...] = Field(min_length=1, max_length=MAX_LABELS)
    temperature: float = Field(gt=0, lt=1e6)
    balanced: bool | None = None
    thresholds: tuple[float, ...] | None = None
    at_least_one: bool | None = None

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("the same label twice")
        if self.thresholds is None and len(self.labels) < 2:
            raise ValueError("a single label")
        if self.thresholds is not None and not (
            len(self.thresholds) == len(self.labels) and all(0 < value < 1 for value in self.thresholds)
        ):
            raise ValueError("thresholds that do not fit the labels")
        return self

    def decision(self) -> SingleLabel | MultiLabel:
        """How logits become labels."""
        if self.thresholds is None:
            return SingleLabel(self.labels, bool(self.balanced), self.temperature)
        return MultiLabel(self.labels, self.thresholds, bool(self.at_least_one), self.temperature)


class TextClassification(Supervised[TextInput, SingleLabel | MultiLabel]):
    """A text → a label, or a list of labels (the label column then holds lists)."""

    kind: ClassVar[str] = "text-classification"
    trainer: ClassVar[str] = "penjing.train.gradient.sequence:SequenceTrainer"
    reads_pairs: ClassVar[bool] = False

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Texts, and at least two classes (or lists of labels)."""
        return why_no_text(rows, roles, pair=cls.reads_pairs) or why_not_classes(rows, roles)

    @classmethod
    def _learn(
        cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None
    ) -> tuple[TextInput, SingleLabel | MultiLabel]:
        assert text is not None and roles.text is not None and roles.label is not None
        source = TextInput(text, roles.text, roles.text_pair if cls.reads_pairs else None)
        if is_multi_label(rows, roles.label):
            return source, MultiLabel.learn(label_sets(rows, roles.label))
        return source, SingleLabel.learn(label_names(rows, roles.label))

    def to_state(self) -> dict[str, Any]:
        """JSON-able; the tokenizer is in `files`."""
        decision = self.decision
        return State(
            input=self.input.to_state(),
            label=self.label_column,
            labels=decision.labels,
            temperature=decision.temperature,
            balanced=decision.balanced if isinstance(decision, SingleLabel) else None,
            thresholds=decision.thresholds if isinstance(decision, MultiLabel) else None,
            at_least_one=decision.at_least_one if isinstance(decision, MultiLabel) else None,
        ).to_json()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        kept = State.read(state)
        if cls.reads_pairs != (kept.input.text_pair is not None):
            raise damaged("text columns of another task kind")
        return cls(TextInput.from_state(kept.input, directory), kept.decision(), kept.label)

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
