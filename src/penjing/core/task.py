"""The protocol every task kind implements. No torch here, nor in any task.

A task says *what* is learned: how rows become arrays, how arrays become predictions, how predictions are scored.
It never says when or how it is trained; a trainer, named by "module:attr", does that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

Row = Mapping[str, Any]
Batch = dict[str, np.ndarray]
Outputs = dict[str, np.ndarray]
Run = Callable[[Batch], Outputs]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a task says of one row.

    Args:
        value: a label, a list of labels, a number, or a list of `Span`s.
        confidence: probability in [0, 1] of `value`, calibrated when the task's temperature was fitted; None where
            the task has no notion of it (regression).
        probs: [C] probabilities in the order of `task.labels`, or None.
    """

    value: Any
    confidence: float | None = None
    probs: np.ndarray | None = None


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A labelled piece of text: characters ``start`` (inclusive) to ``end`` (exclusive)."""

    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure a task reports.

    Args:
        higher_is_better: the direction of improvement.
        percent: whether it lies in [0, 1] and is shown in percent.
        share: whether it is the share of units that are entirely right, so that binomial intervals apply.
    """

    higher_is_better: bool = True
    percent: bool = True
    share: bool = False


@dataclass(frozen=True)
class Stats:
    """Sufficient statistics, one row a resampling unit (text, sentence, query, user).

    Args:
        columns: name → array whose first axis is the unit. Resampling, slicing and pairing are `take`. A task may
            use any names; these have a fixed meaning, so that confusion, classes and calibration need no task:
            `true` and `predicted` [N] int, index into `labels`, -1 for a label not among them (one label a unit);
            `tp`, `fp`, `fn` [N, C] counts a class (several labels, or several spans, a unit), with `unseen` [N] or
            [N, U] counts of labels not among `labels`; `target` and `value` [N] numbers (regression).
    """

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def take(self, index: np.ndarray) -> Stats:
        """The units at these positions (repeats allowed)."""
        return Stats({name: column[index] for name, column in self.columns.items()})


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the model: a dimension given by name varies."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True)
class Signature:
    """What the exported model takes and gives.

    Args:
        inputs: arrays in.
        outputs: arrays out.
        longest: the most that an axis "length" may be; None: there is no such axis.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    longest: int | None = None


@dataclass(frozen=True)
class Roles:
    """Which column plays which part. A task reads the roles it needs and ignores the rest.

    Args:
        text: the text, or the first text of a pair.
        text_pair: the second text of a pair.
        label: what is to be predicted.
        spans: JSON list of ``{"start", "end", "label"}`` (token classification).
        features: numeric and categorical columns (tabular).
        group: rows of one group stay in one split, unless split by time or as given.
        time: rows are split in this order.
        row_id: the user's own key.
        split: a column that already says train, valid or test.
    """

    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    spans: str | None = None
    features: tuple[str, ...] = ()
    group: str | None = None
    time: str | None = None
    row_id: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class TextSettings:
    """How a text task turns characters into token ids; belongs to the chosen pretrained model.

    Args:
        tokenizer_file: a Hugging Face `tokenizer.json`.
        max_length: tokens kept of a row, special tokens included.
        prefix: put before every text (E5 wants "query: ").
    """

    tokenizer_file: Path
    max_length: int = 256
    prefix: str = ""


@runtime_checkable
class Task(Protocol):
    """What is learned. Implementations are immutable after `fit_schema`; all methods are deterministic unless
    `training` is true.
    """

    kind: ClassVar[str]
    trainer: ClassVar[str]
    """"module:attr" of the trainer, imported only to train."""

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """What `aggregate` returns; may depend on the schema (binary, many classes, multi-label)."""
        ...

    @property
    def calibration(self) -> Literal["softmax", "sigmoid"] | None:
        """How `probs` come from scores, so that a temperature can be fitted from probabilities alone; None: not."""
        ...

    roles: Roles
    labels: tuple[str, ...]
    """Class names in the order of `probs`; empty for regression."""
    temperature: float

    @property
    def primary(self) -> str:
        """The metric that selects and decides; a key of `metrics`."""
        ...

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the exported model."""
        ...

    @classmethod
    def supports(cls, rows: Sequence[Row], roles: Roles) -> str | None:
        """None when these rows can be learned, else the reason why not, for the user."""
        ...

    @classmethod
    def from_rows(cls, rows: Sequence[Row], roles: Roles, text: TextSettings | None) -> Task:
        """Learn the schema (classes, categories, scales) from training rows."""
        ...

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] int: tokens a row, for batches of even cost (ones where cost does not vary)."""
        ...

    def encode(self, rows: Sequence[Row], training: bool = False) -> Batch:
        """Rows → arrays named as the signature's inputs; with `training`, targets too (and augmentation)."""
        ...

    def predict(self, run: Run, batch: Batch) -> list[Prediction]:
        """Run the model over a batch and decode. The default is one run; a generator loops."""
        ...

    def score(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> Stats:
        """Predictions against the rows' labels."""
        ...

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric of `metrics` (NaN where undefined on these units)."""
        ...

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """A JSON-able object for output files and HTTP."""
        ...

    def to_state(self) -> dict[str, Any]:
        """JSON-able state; files such as the tokenizer are listed by `files`."""
        ...

    def files(self) -> dict[str, Path]:
        """Name in the artifact → file to copy."""
        ...

    @classmethod
    def from_state(cls, state: dict[str, Any], directory: Path) -> Task:
        """Inverse of `to_state`, with `files` found in `directory`."""
        ...

    def with_temperature(self, temperature: float) -> Task:
        """A copy whose probabilities are softened (or sharpened) by this temperature."""
        ...


def input_columns(task: Task) -> list[str]:
    """Columns predicting reads."""
    roles = task.roles
    return [name for name in (roles.text, roles.text_pair, *roles.features) if name is not None]


@dataclass(frozen=True)
class Table:
    """Rows of one split.

    Args:
        rows: the rows as read; values are str, int, float, bool, None, or JSON lists and objects.
        row_ids: one stable id a row (the user's, or "file:row").
        name: where they came from, for messages.
    """

    rows: list[dict[str, Any]]
    row_ids: list[str]
    name: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Sequence[int] | np.ndarray) -> Table:
        """The rows at these positions."""
        positions = [int(i) for i in index]
        return Table([self.rows[i] for i in positions], [self.row_ids[i] for i in positions], self.name)


@dataclass(frozen=True)
class Splits:
    """Train, valid, and a sealed test.

    Args:
        roles: the column roles.
        fingerprint: sha256 over the rows of all splits and the roles; equal fingerprints mean equal data.
    """

    train: Table
    valid: Table
    sealed_test: Table = field(repr=False)
    roles: Roles
    fingerprint: str

    def open_test(self, reader: str) -> Table:
        """The test rows, for the two stages that may read them.

        Raises:
            AssertionError: any other reader; a bug of ours, not of the user.
        """
        assert reader in {"evaluate", "check"}, f"the test split is sealed for {reader!r}"
        return self.sealed_test
