"""Which column plays which part, and which task that makes. The user's word wins; every guess is explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penjing.core.errors import DataError, closest
from penjing.core.task import Roles, Table
from penjing.data import naming
from penjing.data.config import ColumnsConfig
from penjing.data.labels import LabelShape, class_counts, label_name, label_shape, split_labels
from penjing.data.profile import ColumnProfile, is_blank, parse_time, profile_columns

Profiles = Mapping[str, ColumnProfile]
_SHOWN_CLASSES = 6
_FEW = 100


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
        raise DataError("every row is empty", where=table.name, expected="rows with a text and a label")
    profiles = profile_columns(table.rows)
    _check_named(columns, profiles, table.name)
    notes: list[str] = []
    roles = _plain_roles(columns, profiles, notes)
    taken = {roles.split, roles.row_id, roles.group, roles.time} - {None}
    spans = columns.spans or _find_spans(profiles, task)
    if spans is not None:
        return _tagging(table, replace(roles, spans=spans), columns, profiles, notes)
    label = columns.label or _find_label(profiles, taken, table.name, notes)
    texts = _find_texts(columns, profiles, taken | {label}, task, notes)
    filled = [row.get(label) for row in table.rows if not is_blank(row.get(label))]
    if not filled:
        raise DataError(f"the label column {label!r} is empty", where=table.name, next_step="fill it, or name another")
    shape = label_shape(filled, separator=columns.label_separator, tabular=not texts)
    roles = replace(
        roles, label=label, text=texts[0] if texts else None, text_pair=texts[1] if len(texts) > 1 else None
    )
    kind = _task_kind(task, len(texts), shape, table.name)
    shape = _fitted_shape(shape, kind)
    if kind.startswith("tabular-"):
        roles = replace(roles, features=_features(columns, profiles, roles, notes, table.name))
    else:
        _check_texts(texts, profiles, table.name)
        notes += [
            f"{'text' if i == 0 else 'second text'}: column {t!r} ({_about(profiles[t])})" for i, t in enumerate(texts)
        ]
    notes.append(f"label: column {label!r}, {_label_words(filled, shape)}")
    notes.append(f"task: {kind}" + (" (as you said)" if task != "auto" else ""))
    return Inference(roles, kind, shape, tuple(notes))


def _check_named(columns: ColumnsConfig, profiles: Profiles, where: str) -> None:
    for role, value in columns:
        if role == "label_separator" or value is None:
            continue
        for name in value if isinstance(value, tuple) else (value,):
            if name not in profiles:
                near = closest(name, profiles)
                raise DataError(
                    f"data.columns.{role} names column {name!r}, which does not exist",
                    where=where,
                    expected="one of " + ", ".join(map(repr, list(profiles)[:20])),
                    next_step=f"did you mean {near!r}?" if near else None,
                )


def _plain_roles(columns: ColumnsConfig, profiles: Profiles, notes: list[str]) -> Roles:
    """Roles that names and simple contents decide."""
    named = {value for _, value in columns if isinstance(value, str)}
    free = {name: profile for name, profile in profiles.items() if name not in named}
    split = columns.split or _by_name(
        free, naming.SPLIT, lambda p: 1 < p.num_distinct <= 4 and p.num_filled == p.num_rows
    )
    row_id = columns.row_id or _by_name(
        free, naming.ROW_ID, lambda p: p.distinct_share == 1 and p.num_filled == p.num_rows
    )
    if row_id is None:
        keys = [name for name, p in free.items() if p.is_key and p.num_rows >= 20 and _unnamed_or_id(name)]
        row_id = keys[0] if keys else None
    group = columns.group or _by_name(free, naming.GROUP, lambda p: 1 < p.num_distinct < p.num_filled)
    time = columns.time or _by_name(free, naming.TIME, lambda p: p.dated > 0.95)
    for role, name in (("row id", row_id), ("group", group), ("split", split)):
        if name is not None:
            notes.append(f"{role}: column {name!r}")
    if time is not None and columns.time is None:
        notes.append(f"time: column {time!r}; to test on the newest rows, set data.split.strategy: time")
    return Roles(split=split, row_id=row_id, group=group, time=time)


def _unnamed_or_id(name: str) -> bool:
    plain = naming.plain(name)
    return plain.startswith("column_") or plain in naming.ROW_ID or plain.endswith(("_id", "id"))


def _by_name(profiles: Profiles, names: Sequence[str], fits: Any) -> str | None:
    for wanted in names:
        for column, profile in profiles.items():
            if naming.plain(column) == wanted and fits(profile):
                return column
    return None


def _find_spans(profiles: Profiles, task: str) -> str | None:
    if task not in {"auto", "token-classification"}:
        return None
    found = [name for name, profile in profiles.items() if profile.spanned > 0.95 and profile.num_distinct > 1]
    return next((name for name in found if naming.plain(name) in naming.SPANS), found[0] if found else None)


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
    texts = _find_texts(columns, profiles, taken, "token-classification", notes)
    _check_texts(texts, profiles, table.name)
    notes += [f"text: column {texts[0]!r} ({_about(profiles[texts[0]])})", f"spans: column {spans!r}"]
    notes.append("task: token-classification")
    return Inference(replace(roles, text=texts[0]), "token-classification", None, tuple(notes))


def _find_label(profiles: Profiles, taken: set[str | None], where: str, notes: list[str]) -> str:
    """By name, else the one column few of whose values differ; else the last or the first such column."""
    free = {name: p for name, p in profiles.items() if name not in taken and p.num_distinct > 0}
    named = _by_name(free, naming.LABEL, lambda p: not p.is_free_text)
    if named is not None:
        return named
    fitting = [
        name
        for name, p in free.items()
        if not p.is_free_text and not p.dated > 0.5 and 2 <= p.num_distinct <= max(2, 0.2 * p.num_filled)
    ]
    # A column of users or products repeats too; fewer values make the likelier label.
    fitting = [name for name in fitting if free[name].num_distinct <= _FEW or not free[name].numeric] or fitting
    names = list(free)
    if not fitting:
        raise DataError(
            f"no column looks like a label (columns: {', '.join(map(repr, list(profiles)[:20]))})",
            where=where,
            expected="a column in which a few values repeat",
            next_step="name it in data.columns.label",
        )
    if len(fitting) == 1:
        chosen = fitting[0]
    elif names[-1] in fitting:
        chosen = names[-1]
    elif names[0] in fitting:
        chosen = names[0]
    else:
        raise DataError(
            f"several columns could be the label: {', '.join(map(repr, fitting[:10]))}",
            where=where,
            next_step="name one in data.columns.label",
        )
    notes.append(f"no column is called label; {chosen!r} was chosen (set data.columns.label if that is wrong)")
    return chosen


def _find_texts(
    columns: ColumnsConfig, profiles: Profiles, taken: set[str | None], task: str, notes: list[str]
) -> list[str]:
    """No, one or two text columns."""
    if columns.text is not None:
        pair = [columns.text_pair] if columns.text_pair is not None else []
        if pair or task != "text-pair":
            return [columns.text, *pair]
    if task.startswith("tabular-") or columns.features is not None:
        return []
    free = {name: p for name, p in profiles.items() if name not in taken}
    texts = [name for name, p in free.items() if p.is_free_text]
    if task in {"auto", "text-pair"}:
        pair = _find_pair(columns.text, free, texts, task)
        if pair:
            return pair
    known = _by_name(free, naming.TEXT, _could_be_text)
    if known is not None:
        rest = [name for name in texts if name != known]
        if rest:
            notes.append(f"not used: {', '.join(map(repr, rest))} (set data.columns.text to use one of them)")
        return [known]
    if not texts:
        return [] if task == "auto" else _named_text(free)
    longest = max(texts, key=lambda name: profiles[name].tokens)
    if task == "auto" and len(free) >= 5 and profiles[longest].tokens < 8:
        notes.append(f"column {longest!r} holds a few words; the other columns are taken as the input")
        return []
    return [longest]


def _find_pair(text: str | None, free: Profiles, texts: Sequence[str], task: str) -> list[str]:
    """Two columns with names that go together, or, without known names, two alike; else nothing."""
    by_plain = {naming.plain(name): name for name in free}
    for first, second in naming.PAIRS:
        if first in by_plain and second in by_plain and text is None:
            found = [by_plain[first], by_plain[second]]
            if all(free[name].tokens >= 1.5 and free[name].numeric < 0.5 for name in found):
                return found
    if task == "text-pair" and len(texts) >= 2:
        return [text, next(name for name in texts if name != text)] if text else list(texts[:2])
    if text is None and len(texts) == 2 and _by_name(free, naming.TEXT, _could_be_text) is None:
        return list(texts) if _alike(free[texts[0]], free[texts[1]]) else []
    return []


def _named_text(free: Profiles) -> list[str]:
    """With a text task asked for, the wordiest column is the text, however short."""
    words = {name: p.tokens for name, p in free.items() if p.numeric < 0.5 and p.tokens > 0}
    return [max(words, key=lambda name: words[name])] if words else []


def _could_be_text(profile: ColumnProfile) -> bool:
    if profile.num_filled == 0:
        return True
    return profile.num_distinct > 1 and profile.listed < 0.5 and (profile.tokens >= 1.5 or profile.numeric > 0.95)


def _alike(first: ColumnProfile, second: ColumnProfile) -> bool:
    short, long = sorted((first.tokens, second.tokens))
    return long <= 3 * short


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


def _features(
    columns: ColumnsConfig, profiles: Profiles, roles: Roles, notes: list[str], where: str
) -> tuple[str, ...]:
    if columns.features is not None:
        return columns.features
    taken = {roles.label, roles.split, roles.row_id, roles.group}
    free = {name: p for name, p in profiles.items() if name not in taken and p.num_filled}
    keys = [name for name, p in free.items() if p.is_key and not p.integral and p.num_rows >= 20]
    wordy = [name for name, p in free.items() if p.is_free_text or p.listed > 0.5]
    features = tuple(name for name in free if name not in {*keys, *wordy})
    if not features:
        raise DataError("no column is left as input", where=where, next_step="name some in data.columns.features")
    if keys or wordy:
        notes.append(f"not used: {', '.join(map(repr, dict.fromkeys(keys + wordy)))} (nearly every row differs)")
    notes.append(
        f"features: {len(features)} column{'s' if len(features) > 1 else ''} ({', '.join(features[:8])}{', ...' if len(features) > 8 else ''})"
    )
    return features


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


def _label_words(filled: Sequence[Any], shape: LabelShape) -> str:
    if shape.kind == "numbers":
        return "numbers"
    if shape.kind == "sets":
        written = f", written with {shape.separator!r} between them" if shape.separator else ""
        counts = class_counts([split_labels(value, shape.separator) for value in filled])
        return f"several labels a row{written}; {len(counts)} labels"
    counts = class_counts([label_name(value) for value in filled])
    shown = ", ".join(f"{name}: {count:,}" for name, count in counts.most_common(_SHOWN_CLASSES))
    return f"{len(counts)} classes ({shown}{', ...' if len(counts) > _SHOWN_CLASSES else ''})"


def time_of(row: Mapping[str, Any], column: str, row_id: str) -> float:
    """The moment of a row, in seconds.

    Raises:
        DataError: no date.
    """
    value = row.get(column)
    moment = parse_time(value)
    if moment is None and isinstance(value, str):
        try:
            moment = float(value)
        except ValueError:
            moment = None
    if moment is None:
        raise DataError(
            f"column {column!r} holds {str(value)[:40]!r}", where=row_id, expected="a date such as 2026-05-11T09:30"
        )
    return moment
