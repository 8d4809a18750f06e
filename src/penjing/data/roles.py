"""Finding the columns: which one is the text, the label, the key, the features. From names first, then contents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from penjing.core.errors import DataError
from penjing.core.task import Roles
from penjing.data import naming
from penjing.data.config import ColumnsConfig
from penjing.data.profile import ColumnProfile

Profiles = Mapping[str, ColumnProfile]
_FEW = 100


def plain_roles(columns: ColumnsConfig, profiles: Profiles, notes: list[str]) -> Roles:
    """Roles that names and simple contents decide."""
    named = {value for _, value in columns if isinstance(value, str)}
    free = {name: profile for name, profile in profiles.items() if name not in named}
    # Most values, not all: a misspelt one is said when the rows are divided, instead of being learned from.
    split = columns.split or _by_name(
        free, naming.SPLIT, lambda p: p.divided > 0.5 and p.num_distinct > 1 and p.num_filled == p.num_rows
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


def _by_name(profiles: Profiles, names: Sequence[str], fits: Callable[[ColumnProfile], bool]) -> str | None:
    for wanted in names:
        for column, profile in profiles.items():
            if naming.plain(column) == wanted and fits(profile):
                return column
    return None


def find_spans(profiles: Profiles, task: str) -> str | None:
    """The column of labelled spans, if there is one and the task may want it."""
    if task not in {"auto", "token-classification"}:
        return None
    found = [name for name, profile in profiles.items() if profile.spanned > 0.95 and profile.num_distinct > 1]
    return next((name for name in found if naming.plain(name) in naming.SPANS), found[0] if found else None)


def find_label(profiles: Profiles, taken: set[str | None], where: str, notes: list[str], task: str = "auto") -> str:
    """By name, else the one column few of whose values differ; else the last or the first such column.

    Of a task of numbers, the one column of numbers that are no key, or the last.

    Raises:
        DataError: no column, or several alike.
    """
    free = {name: p for name, p in profiles.items() if name not in taken and p.num_distinct > 0}
    named = _by_name(free, naming.LABEL, lambda p: not p.is_free_text)
    if named is not None:
        return named
    if task.endswith("-regression"):
        numbers = [name for name, p in free.items() if p.numeric > 0.95 and p.num_distinct > 1]
        fitting = [name for name in numbers if not (free[name].is_key and free[name].integral == 1)] or numbers
    else:
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
            expected="a column of numbers" if task.endswith("-regression") else "a column in which a few values repeat",
            next_step="name it in data.columns.label; for numbers, with task: text-regression or tabular-regression",
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


def find_texts(
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


def find_features(
    columns: ColumnsConfig, profiles: Profiles, roles: Roles, notes: list[str], where: str
) -> tuple[str, ...]:
    """Input columns of a table: all but those with another part, keys and prose.

    Raises:
        DataError: none is left.
    """
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
    shown = ", ".join(features[:8]) + (", ..." if len(features) > 8 else "")
    notes.append(f"features: {len(features)} column{'s' if len(features) > 1 else ''} ({shown})")
    return features
