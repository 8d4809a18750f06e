"""Label cells → class names, the same for every way a file may write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from penjing.core.errors import DataError
from penjing.core.task import Roles, Row
from penjing.data.labels import MAX_LABEL_CHARS

MAX_LABELS = 5_000


def label_text(value: Any, where: str) -> str:
    """One label: 1, 1.0, "1" and " 1 " are the same class, as files and spreadsheets write them.

    Raises:
        DataError: missing, not a scalar, or far too long.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    name = "" if value is None or (isinstance(value, float) and math.isnan(value)) else value
    if not isinstance(name, str | int | float):
        raise DataError(f"the label is a {type(value).__name__}", where=where, expected="a string or a number")
    name = str(name).strip()
    if not name:
        raise DataError("has no label", where=where, next_step="fill the cell or leave the row out")
    if len(name) > MAX_LABEL_CHARS:
        raise DataError(f"the label has {len(name):,} characters", where=where, expected=f"at most {MAX_LABEL_CHARS}")
    return name


def label_list(value: Any, where: str) -> list[str]:
    """The labels of one row of a multi-label task: a list, or one label; None and "" are no label at all."""
    if value is None or value == "":
        return []
    values = value if isinstance(value, list | tuple) else [value]
    return sorted({label_text(item, where) for item in values})


def label_cell(row: Row, column: str | None, position: int) -> Any:
    """The raw cell.

    Raises:
        DataError: the row has no such column.
    """
    if column is None or column not in row:
        raise DataError(f"has no label column {column!r}", where=f"row {position}")
    return row[column]


def label_names(rows: Sequence[Row], column: str | None) -> list[str]:
    """[N] labels of rows that have one each.

    Raises:
        DataError: a row has none, or something that is no label.
    """
    return [label_text(label_cell(row, column, i), f"row {i}") for i, row in enumerate(rows)]


def label_sets(rows: Sequence[Row], column: str) -> list[list[str]]:
    """[N] sorted labels of rows that may have several, or none.

    Raises:
        DataError: something that is no label.
    """
    return [label_list(label_cell(row, column, i), f"row {i}") for i, row in enumerate(rows)]


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Distinct labels in a fixed order: by value when all are numbers, else by code point."""
    distinct = set(labels)
    if all(_is_number(label) for label in distinct):
        return tuple(sorted(distinct, key=lambda label: (float(label), label)))
    return tuple(sorted(distinct))


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def why_not_classes(rows: Sequence[Row], roles: Roles) -> str | None:
    """Why the label column holds no classes one could learn, for the user; None when it does."""
    if roles.label is None:
        return "no column plays the role 'label'"
    column = roles.label
    distinct = {name for names in label_sets(rows, column) for name in names}
    if len(distinct) < 2 and not is_multi_label(rows, column):
        found = next(iter(distinct), None)
        return f"every row of column {column!r} has the same label {found!r}" if found else f"no labels in {column!r}"
    if not distinct:
        return f"no labels in column {column!r}"
    if len(distinct) > MAX_LABELS:
        return f"column {column!r} has {len(distinct):,} different labels; at most {MAX_LABELS:,} can be learned"
    return None


def is_multi_label(rows: Sequence[Row], column: str) -> bool:
    """Whether rows carry lists of labels."""
    return any(isinstance(row.get(column), list | tuple) for row in rows)
