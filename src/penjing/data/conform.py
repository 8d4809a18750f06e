"""Rows as read → rows as tasks want them: labels as text, lists or numbers; rows that cannot be learned from set apart.

After this, a label is a str (classes), a list of str (sets) or a float (numbers), and spans are a list of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penjing.core.errors import DataError
from penjing.core.task import Table
from penjing.data.infer import Inference
from penjing.data.labels import MAX_LABEL_CHARS, label_name, split_labels
from penjing.data.numbers import parse_number
from penjing.data.profile import is_blank, parse_spans

_SHOWN = 3


@dataclass(frozen=True)
class Conformed:
    """A table split by what its rows can be used for.

    Args:
        table: rows with input and label.
        unlabelled: rows with a text, but no label.
        without_text: ids of rows that lack a text; they are left out.
    """

    table: Table
    unlabelled: Table
    without_text: tuple[str, ...]


def conform(table: Table, inference: Inference) -> Conformed:
    """Normalise labels and ids, and set apart the rows that lack a text or a label.

    Raises:
        DataError: a label is no number (regression), or spans lie outside their text; the message names the row.
    """
    roles = inference.roles
    texts = [name for name in (roles.text, roles.text_pair) if name is not None]
    row_ids = _row_ids(table, roles.row_id)
    labelled: list[int] = []
    unlabelled: list[int] = []
    without_text: list[str] = []
    rows = []
    for i, row in enumerate(table.rows):
        target = roles.spans or roles.label
        assert target is not None
        rows.append({**row, target: _target(row.get(target), inference, row, row_ids[i])})
        if any(is_blank(row.get(name)) for name in texts):
            without_text.append(row_ids[i])
        elif rows[i][target] is None:
            unlabelled.append(i)
        else:
            labelled.append(i)
    whole = Table(rows, row_ids, table.name)
    return Conformed(whole.take(labelled), whole.take(unlabelled), tuple(without_text))


def _row_ids(table: Table, column: str | None) -> list[str]:
    """The user's keys where they are complete and different, else "file:line"."""
    if column is None:
        return table.row_ids
    keys = [row.get(column) for row in table.rows]
    if any(is_blank(key) for key in keys):
        return table.row_ids
    named = [label_name(key) for key in keys]
    return named if len(set(named)) == len(named) else table.row_ids


def _target(value: Any, inference: Inference, row: dict[str, Any], row_id: str) -> Any:
    if inference.label is None:
        return _spans(value, inference, row, row_id)
    if inference.label.kind == "sets":
        # An empty list always says "none of the labels".
        if is_blank(value) and not inference.label.empty_is_none:
            return None
        parts = split_labels(value, inference.label.separator)
        return [_require_name(part, f"{row_id}, column {inference.roles.label!r}") for part in parts]
    if is_blank(value):
        return None
    if inference.label.kind == "classes":
        if isinstance(value, (dict, list, tuple)):
            raise DataError(f"the label is a {type(value).__name__}", where=row_id, expected="one class")
        return _require_name(label_name(value), f"{row_id}, column {inference.roles.label!r}")
    number = parse_number(value)
    if number is None:
        raise DataError(
            f"the label is {str(value)[:40]!r}",
            where=f"{row_id}, column {inference.roles.label!r}",
            expected="a number, as in the other rows",
            next_step="correct or empty the cell",
        )
    return number


def _require_name(label: str, where: str) -> str:
    """The label, where it is short enough for one."""
    if not 0 < len(label) <= MAX_LABEL_CHARS:
        raise DataError(
            f"the label has {len(label):,} characters",
            where=where,
            expected=f"1 to {MAX_LABEL_CHARS}",
            next_step="correct the cell, or name the right column in data.columns.label",
        )
    return label


def _spans(value: Any, inference: Inference, row: dict[str, Any], row_id: str) -> list[dict[str, Any]] | None:
    if value is None:
        return None
    spans = parse_spans(value)
    where = f"{row_id}, column {inference.roles.spans!r}"
    if spans is None:
        raise DataError("no list of spans", where=where, expected='[{"start": 0, "end": 4, "label": "ORG"}]')
    text = str(row.get(inference.roles.text or "") or "")
    length = len(text)
    for span in spans:
        if not 0 <= span["start"] < span["end"] <= length:
            raise DataError(
                f"the span {span['start']}..{span['end']} lies outside its text",
                where=where,
                expected=f"0 <= start < end <= {length} characters, end exclusive",
            )
        if not text[span["start"] : span["end"]].strip():
            raise DataError(f"the span {span['start']}..{span['end']} covers nothing but blanks", where=where)
        _require_name(label_name(span["label"]), where)
    return [{**span, "label": label_name(span["label"])} for span in spans]


def targets(rows: Sequence[dict[str, Any]], inference: Inference) -> list[Any]:
    """Labels of conformed rows; for spans, the list of labels that occur in the row."""
    roles = inference.roles
    if roles.spans is not None:
        spans = roles.spans
        return [sorted({span["label"] for span in row[spans]}) for row in rows]
    assert roles.label is not None
    return [row[roles.label] for row in rows]


def explain_left_out(done: Conformed) -> list[str]:
    """Sentences about rows that are not used, for the user."""
    notes = []
    if done.without_text:
        notes.append(f"left out: {len(done.without_text):,} rows without a text ({_some(done.without_text)})")
    if len(done.unlabelled):
        notes.append(f"set apart: {len(done.unlabelled):,} rows without a label ({_some(done.unlabelled.row_ids)})")
    return notes


def _some(row_ids: Sequence[str]) -> str:
    return ", ".join(row_ids[:_SHOWN]) + (", ..." if len(row_ids) > _SHOWN else "")
