"""Text regression: a number for each text (stars, urgency, price)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field

from penjing.core.task import Metric, Roles, Row, Stats, TextSettings
from penjing.tasks.metrics import spearman
from penjing.tasks.standardised_number import StandardisedNumber, why_no_numbers
from penjing.tasks.state import TaskState
from penjing.tasks.supervised import Supervised
from penjing.tasks.text_input import TextInput, TextInputState, why_no_text


class State(TaskState):
    """What an artifact keeps of a text regression."""

    input: TextInputState
    label: str | None = Field(max_length=1000)
    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)


class TextRegression(Supervised[TextInput, StandardisedNumber]):
    """A text → a number."""

    kind: ClassVar[str] = "text-regression"
    trainer: ClassVar[str] = "penjing.train.gradient.sequence:SequenceTrainer"

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Those of any regression, and the correlation of ranks: stars and urgency are orders before they are sums."""
        return {**self.decision.metrics, "spearman": Metric(percent=False)}

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """Texts, and numbers that differ."""
        return why_no_text(rows, roles, pair=False) or why_no_numbers(rows, roles.label)

    @classmethod
    def _learn(
        cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None
    ) -> tuple[TextInput, StandardisedNumber]:
        assert text is not None and roles.text is not None and roles.label is not None
        return TextInput(text, roles.text), StandardisedNumber.learn(rows, roles.label)

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        ranks = spearman(stats.columns["target"], stats.columns["value"])
        return {**super().aggregate(stats), "spearman": ranks}

    def to_state(self) -> dict[str, Any]:
        """JSON-able; the tokenizer is in `files`."""
        number = self.decision
        return State(input=self.input.to_state(), label=self.label_column, mean=number.mean, std=number.std).to_json()

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Self:
        """Inverse of `to_state`.

        Raises:
            ArtifactError: a state that no version of this task wrote.
        """
        kept = State.read(state)
        number = StandardisedNumber(kept.mean, kept.std)
        return cls(TextInput.from_state(kept.input, directory), number, kept.label)
