"""What a label column holds: classes, several labels a row, or numbers; and what makes it unusable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from penjing.core.errors import DataError
from penjing.data.numbers import parse_number
from penjing.data.profile import is_blank

SEPARATORS = ("|", ";", ",", "，", "、", "/")
_MAX_INTEGER_CLASSES = 200
_MAX_TABULAR_INTEGER_CLASSES = 20
MAX_LABEL_CHARS = 300
_MIN_ROWS_TO_JUDGE = 20

LabelKind = Literal["classes", "sets", "numbers"]


@dataclass(frozen=True)
class LabelShape:
    """How a label column is to be read.

    Args:
        kind: classes (one a row), sets (any number a row), numbers (regression).
        separator: between the labels of a cell, where sets are written as text.
        empty_is_none: whether an empty cell says "none of the labels", rather than "not labelled yet".
    """

    kind: LabelKind
    separator: str | None = None
    empty_is_none: bool = False


def label_shape(values: Sequence[Any], *, separator: str | None, tabular: bool) -> LabelShape:
    """Decide from the filled cells of a label column; numbers come first, since "1,234" has a separator in it too.

    Args:
        values: cells that are not blank.
        separator: the user's choice, if any.
        tabular: whether there is no text; few whole numbers are then classes, many are a quantity.
    """
    if any(isinstance(value, (list, tuple)) for value in values):
        return LabelShape("sets")
    if separator is not None:
        return LabelShape("sets", separator, empty_is_none=True)
    numbers = [parse_number(value) for value in values]
    present = [number for number in numbers if number is not None]
    if len(present) >= 0.95 * len(values):
        return LabelShape("numbers" if _is_quantity(present, tabular) else "classes")
    for candidate in SEPARATORS:
        if _separates(candidate, [str(value) for value in values]):
            return LabelShape("sets", candidate)
    return LabelShape("classes")


def _is_quantity(numbers: Sequence[float], tabular: bool) -> bool:
    distinct = set(numbers)
    if any(not number.is_integer() for number in distinct):
        return len(distinct) > 10
    bound = _MAX_TABULAR_INTEGER_CLASSES if tabular else _MAX_INTEGER_CLASSES
    return len(distinct) > bound or (len(distinct) > _MAX_TABULAR_INTEGER_CLASSES and len(numbers) < 5 * len(distinct))


def _separates(mark: str, texts: Sequence[str]) -> bool:
    """Whether cells such as "a|b" are made of labels that other rows carry alone, or in other combinations."""
    cells = Counter(texts)
    joined = [cell for cell in cells if mark in cell]
    if len(joined) < 2:
        return False
    alone = {cell.strip() for cell in cells if mark not in cell}
    parts = Counter(part.strip() for cell in joined for part in cell.split(mark))
    if "" in parts or max(map(len, parts)) > 60:
        return False
    known = sum(part in alone for part in parts)
    shared = sum(count > 1 or part in alone for part, count in parts.items())
    return known >= 0.8 * len(parts) or (shared >= 0.8 * len(parts) and len(parts) <= len(joined))


def split_labels(value: Any, separator: str | None) -> list[str]:
    """The labels of one cell of a multi-label column, without repeats, in their order."""
    if is_blank(value):
        return []
    if isinstance(value, (list, tuple)):
        parts = [label_name(part) for part in value if not is_blank(part)]
    else:
        parts = [part.strip() for part in label_name(value).split(separator)] if separator else [label_name(value)]
    return list(dict.fromkeys(part for part in parts if part))


def label_name(value: Any) -> str:
    """One label as text: 1, 1.0 and " 1 " are the same class."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def id_like(values: Sequence[Any], kind: LabelKind, *, of_texts: bool = False) -> str | None:
    """Why the column looks like an identifier instead of a label; None when it does not.

    Args:
        values: labels as read.
        kind: how they are read.
        of_texts: whether they are labels of texts, whose ratings and prices repeat; numbers of tables need not.
    """
    count = len(values)
    if count < _MIN_ROWS_TO_JUDGE:
        return None
    distinct = len({label_name(value) for value in values if not isinstance(value, (list, tuple))})
    if kind == "numbers":
        numbers = [parse_number(value) for value in values]
        whole = [int(n) for n in numbers if n is not None and n.is_integer()]
        if len(whole) == count == distinct and (whole == sorted(whole) or max(whole) - min(whole) == count - 1):
            return f"has {count:,} whole numbers, all different and in order"
        if of_texts and len(whole) == count == distinct:
            return f"has {count:,} whole numbers, all different"
        return None
    if kind == "classes" and distinct > 0.5 * count:
        return f"has {distinct:,} different values in {count:,} rows"
    return None


def require_learnable(
    values: Sequence[Any], kind: LabelKind, column: str, where: str, *, rare: bool, of_texts: bool = False
) -> None:
    """Refuse labels nothing can be learned from.

    Args:
        values: labels as `conform` leaves them: text, lists of text, or numbers.
        kind: how they are read.
        column: its name.
        where: the data's name.
        rare: whether classes of one row are refused too (they cannot be both learned and tested).
        of_texts: as in `id_like`.

    Raises:
        DataError: an identifier, one class only, or a class of one row.
    """
    reason = id_like(values, kind, of_texts=of_texts)
    if reason:
        raise DataError(
            f"the label column {column!r} {reason}, so it looks like an id",
            where=where,
            expected="a label that many rows share",
            next_step="name the right column in data.columns.label"
            + (", or say task: text-regression if these are numbers to predict" if of_texts else ""),
        )
    if kind == "numbers":
        if len(set(values)) < 2:
            raise DataError(f"every row of {column!r} has the same number", where=where, expected="different numbers")
        return
    counts = class_counts(values)
    if len(counts) < (2 if kind == "classes" else 1):
        found = f"one class only ({next(iter(counts))!r})" if counts else "no label at all"
        raise DataError(
            f"the label column {column!r} holds {found}",
            where=where,
            expected="at least two classes",
            next_step="add rows of the other classes, or name the right column in data.columns.label",
        )
    single = [name for name, count in counts.items() if count == 1]
    if rare and single:
        shown = ", ".join(map(repr, single[:5])) + (", ..." if len(single) > 5 else "")
        raise DataError(
            f"{len(single)} class{'es have' if len(single) > 1 else ' has'} one row only: {shown}",
            where=f"{where}, column {column!r}",
            expected="at least two rows a class, one to learn from and one to test",
            next_step="add rows, merge the class with another, or set data.rare_classes: drop",
        )


def class_counts(values: Sequence[Any]) -> Counter[str]:
    """Rows a class; a row with several labels counts for each."""
    return Counter(
        name for value in values for name in (value if isinstance(value, list) else [value]) if name is not None
    )
