"""Which column plays which part, and which task that makes. The user's word wins; every guess is explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from penjing.core.errors import DataError, closest
from penjing.core.task import Roles, Table
from penjing.data.config import ColumnsConfig
from penjing.data.labels import LabelShape, class_counts, label_name, label_shape, split_labels
from penjing.data.profile import ColumnProfile, is_blank, parse_spans, profile_columns
from penjing.data.roles import Profiles, find_features, find_label, find_spans, find_texts, plain_roles

_SHOWN_CLASSES = 6


@dataclass(frozen=True)
class Inference:
    """How a table is to be understood.

    Args:
        roles: which column plays which part.
        task_kind: a name of the task registry.
        label: how the label column is read; None for spans.
        explanation: one sentence a decision, for the user.
    """

    roles: Roles
    task_kind: str
    label: LabelShape | None
    explanation: tuple[str, ...]


def infer(table: Table, columns: ColumnsConfig, task: str = "auto") -> Inference:
    """Decide roles and task kind from names, contents and the user's overrides.

    Args:
        table: the rows.
        columns: the user's overrides.
        task: a task kind, or auto.

    Raises:
        DataError: a named column does not exist or cannot play its part, or no label can be found.
    """
    if all(is_blank(value) for row in table.rows for value in row.values()):
        raise DataError(
            "every row is empty",
            where=table.name,
            expected="rows with a text and a label",
            next_step="check the export",
        )
    profiles = profile_columns(table.rows)
    _check_named(columns, profiles, table.name)
    notes: list[str] = []
    roles = plain_roles(columns, profiles, notes)
    taken = {roles.split, roles.row_id, roles.group, roles.time} - {None}
    spans = columns.spans or find_spans(profiles, task)
    if spans is not None:
        return _tagging(table, replace(roles, spans=spans), columns, profiles, notes)
    label = columns.label or find_label(profiles, taken, table.name, notes, task)
    texts = find_texts(columns, profiles, taken | {label}, task, notes)
    filled = [row.get(label) for row in table.rows if not is_blank(row.get(label))]
    if not filled:
        raise DataError(f"the label column {label!r} is empty", where=table.name, next_step="fill it, or name another")
    shape = label_shape(filled, separator=columns.label_separator, tabular=not texts)
    if shape.kind == "sets" and columns.empty_is_none is not None:
        shape = replace(shape, empty_is_none=columns.empty_is_none)
    roles = replace(
        roles, label=label, text=texts[0] if texts else None, text_pair=texts[1] if len(texts) > 1 else None
    )
    kind = _task_kind(task, len(texts), shape, table.name)
    shape = _fitted_shape(shape, kind)
    if kind.startswith("tabular-"):
        roles = replace(roles, features=find_features(columns, profiles, roles, notes, table.name))
    else:
        _check_texts(texts, profiles, table.name)
        notes += [
            f"{'text' if i == 0 else 'second text'}: column {t!r} ({_about(profiles[t])})" for i, t in enumerate(texts)
        ]
    notes.append(f"label: column {label!r}, {_label_words(filled, shape)}")
    if shape.kind == "sets" and len(filled) < len(table):
        notes.append(_empty_words(len(table) - len(filled), shape))
    notes.append(f"task: {kind}" + (" (as you said)" if task != "auto" else ""))
    return Inference(roles, kind, shape, tuple(notes))


def written_down(inference: Inference) -> ColumnsConfig:
    """The columns' part of a recipe with which `infer` decides the same again of the same rows and task."""
    roles, shape = inference.roles, inference.label
    several = shape is not None and shape.kind == "sets"
    return ColumnsConfig(
        **{**asdict(roles), "features": roles.features or None},
        label_separator=shape.separator if shape is not None else None,
        empty_is_none=shape.empty_is_none if shape is not None and several else None,
    )


def _check_named(columns: ColumnsConfig, profiles: Profiles, where: str) -> None:
    for role, names in columns.by_role().items():
        for name in names:
            if name not in profiles:
                near = closest(name, profiles)
                raise DataError(
                    f"data.columns.{role} names column {name!r}, which does not exist",
                    where=where,
                    expected="one of " + ", ".join(map(repr, list(profiles)[:20])),
                    next_step=f"did you mean {near!r}?" if near else None,
                )


def _tagging(table: Table, roles: Roles, columns: ColumnsConfig, profiles: Profiles, notes: list[str]) -> Inference:
    spans = roles.spans
    assert spans is not None
    if profiles[spans].spanned < 0.95:
        raise DataError(
            f"column {spans!r} is not a list of spans in every row",
            where=table.name,
            expected='JSON such as [{"start": 0, "end": 4, "label": "ORG"}]',
        )
    taken = {roles.split, roles.row_id, roles.group, roles.time, spans}
    texts = find_texts(columns, profiles, taken, "token-classification", notes)
    _check_texts(texts, profiles, table.name)
    notes += [
        f"text: column {texts[0]!r} ({_about(profiles[texts[0]])})",
        f"spans: column {spans!r}, {_span_labels(table, spans)}",
    ]
    notes.append("task: token-classification")
    return Inference(replace(roles, text=texts[0]), "token-classification", None, tuple(notes))


def _span_labels(table: Table, column: str) -> str:
    counts = Counter(label_name(span["label"]) for row in table.rows for span in parse_spans(row.get(column)) or ())
    shown = ", ".join(f"{name}: {count:,}" for name, count in counts.most_common(_SHOWN_CLASSES))
    more = ", ..." if len(counts) > _SHOWN_CLASSES else ""
    return f"{len(counts):,} label{'s' if len(counts) != 1 else ''} ({shown}{more})"


def _task_kind(task: str, num_texts: int, shape: LabelShape, where: str) -> str:
    if task != "auto":
        if num_texts == 0 and not task.startswith("tabular-"):
            raise DataError(
                f"no text column was found, and {task} needs one", where=where, next_step="name it in data.columns.text"
            )
        return task
    numbers = shape.kind == "numbers"
    if num_texts == 0:
        return "tabular-regression" if numbers else "tabular-classification"
    if num_texts == 2 and numbers:
        raise DataError(
            "two texts and a number to predict",
            where=where,
            expected="one text with a number, or two texts with a class",
            next_step="name one text in data.columns.text, or turn the number into classes",
        )
    return "text-pair" if num_texts == 2 else "text-regression" if numbers else "text-classification"


def _fitted_shape(shape: LabelShape, kind: str) -> LabelShape:
    """The task the user asked for decides between classes and numbers."""
    if kind.endswith("-regression"):
        return LabelShape("numbers")
    return LabelShape("classes") if shape.kind == "numbers" else shape


def _check_texts(texts: Sequence[str], profiles: Profiles, where: str) -> None:
    if not texts:
        raise DataError("no text column was found", where=where, next_step="name it in data.columns.text")
    for name in texts:
        profile = profiles[name]
        if profile.num_filled == 0:
            raise DataError(f"the text column {name!r} is empty in every row", where=where, next_step="fill it")
        if profile.numeric > 0.95:
            raise DataError(
                f"the text column {name!r} holds numbers",
                where=where,
                expected="sentences",
                next_step="name the right column in data.columns.text, or set task: tabular-classification",
            )


def _about(profile: ColumnProfile) -> str:
    return f"{profile.chars:,.0f} characters on average"


def _empty_words(count: int, shape: LabelShape) -> str:
    if shape.empty_is_none:
        return f"label: {count:,} empty cells mean none of the labels"
    if shape.separator is None:
        return f"label: {count:,} empty cells mean not labelled yet; an empty list says none of the labels"
    return f"label: {count:,} empty cells mean not labelled yet (data.columns.label_separator makes them mean none)"


def _label_words(filled: Sequence[Any], shape: LabelShape) -> str:
    if shape.kind == "numbers":
        if any("," in str(value) for value in filled):
            return "numbers with commas between thousands (labels instead: data.columns.label_separator)"
        return "numbers"
    if shape.kind == "sets":
        written = f", written with {shape.separator!r} between them" if shape.separator else ""
        counts = class_counts([split_labels(value, shape.separator) for value in filled])
        return f"several labels a row{written}; {len(counts)} labels"
    counts = class_counts([label_name(value) for value in filled])
    shown = ", ".join(f"{name}: {count:,}" for name, count in counts.most_common(_SHOWN_CLASSES))
    return f"{len(counts)} classes ({shown}{', ...' if len(counts) > _SHOWN_CLASSES else ''})"
