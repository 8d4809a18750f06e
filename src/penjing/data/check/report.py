"""The report of a data check, and what the checks look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from penjing.core.task import Table
from penjing.data.conform import targets
from penjing.data.infer import Inference
from penjing.data.textkey import content_key

Severity = Literal["error", "warning", "info"]
MAX_EXAMPLES = 5
EXCERPT_CHARS = 120
_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Example:
    """One row that shows a finding.

    Args:
        row_id: the row.
        detail: what is seen there, shortened.
    """

    row_id: str
    detail: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Args:
        code: a stable name.
        severity: error: training is impossible or its figures would be wrong; warning: it costs accuracy; info.
        message: what was found, in one sentence.
        count: rows (or classes, where the message says so) it concerns.
        share: of all, in [0, 1].
        what_to_do: the next step.
        examples: at most five.
    """

    code: str
    severity: Severity
    message: str
    count: int
    share: float
    what_to_do: str
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """Everything a check found.

    Args:
        source: the data's name.
        num_rows: rows looked at.
        task_kind: the inferred task, or None where that failed.
        language: of the texts.
        findings: most severe first.
        skipped: check → why it was not made.
        explanation: how the data was understood.
        seconds: wall time of the check.
    """

    source: str
    num_rows: int
    task_kind: str | None
    language: str
    findings: tuple[Finding, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    explanation: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of training."""
        return all(finding.severity != "error" for finding in self.findings)

    def find(self, code: str) -> Finding | None:
        """The finding with this code, if any."""
        return next((finding for finding in self.findings if finding.code == code), None)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self), "ok": self.ok}


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Most severe first, then by share."""
    return tuple(sorted(findings, key=lambda f: (_ORDER[f.severity], -f.share, f.code)))


@dataclass(frozen=True)
class Material:
    """What the checks look at.

    Args:
        table: conformed rows whose labels may be read (train, then valid where a split exists).
        inference: how they are understood.
        num_train: how many of `table` are training rows.
        sealed: rows of the test; only their texts are compared, their labels are never read and never shown.
        without_text: ids of rows that lack a text.
        unlabelled: ids of rows that lack a label.
        divided: whether the split is fixed (given or made), so that leaks between parts can exist.
        drops_rare: whether classes of one row are left out, and so stand in nobody's way.
        task_given: whether the user named the task.
    """

    table: Table
    inference: Inference
    num_train: int
    sealed: Table | None = None
    without_text: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()
    divided: bool = False
    drops_rare: bool = False
    task_given: bool = False

    def texts(self) -> list[str]:
        """Text of each row (both texts of a pair); empty for tables."""
        return texts_of(self.table, self.inference)

    def labels(self) -> list[Any]:
        """Label of each row."""
        return targets(self.table.rows, self.inference)

    def keys(self) -> list[bytes]:
        """Equal for rows of the same content."""
        return [content_key(row, self.inference.roles) for row in self.table.rows]

    def examples(self, places: Sequence[int], details: Sequence[str]) -> tuple[Example, ...]:
        """Examples from positions in `table`."""
        chosen = list(zip(places, details, strict=True))[:MAX_EXAMPLES]
        return tuple(Example(self.table.row_ids[i], detail) for i, detail in chosen)


def texts_of(table: Table, inference: Inference) -> list[str]:
    """Text of each row, both texts of a pair on one line; empty strings for tables without text."""
    names = [name for name in (inference.roles.text, inference.roles.text_pair) if name is not None]
    return [" ↔ ".join(str(row.get(name) or "") for name in names) for row in table.rows]


def excerpt(text: str) -> str:
    """A text, shortened for a report, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT_CHARS else line[: EXCERPT_CHARS - 1] + "…"
