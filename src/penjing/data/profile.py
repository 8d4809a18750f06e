"""What a column holds: how many values, of which kind, how much language."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from penjing.data.naming import SPLIT_VALUES
from penjing.data.numbers import parse_number

SAMPLE_ROWS = 5_000
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_]+")
_CHINESE_DATE = re.compile(r"(\d{4})年(\d{1,2})月(\d{1,2})日")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_MAX_PARSED_CHARS = 200_000
# Part of a span → what annotation tools call it.
_SPAN_KEYS = {
    "start": ("start", "start_offset", "begin"),
    "end": ("end", "end_offset"),
    "label": ("label", "labels", "tag", "type", "entity_group", "entity"),
}


@dataclass(frozen=True)
class ColumnProfile:
    """A column, looked at through a sample of its rows.

    Args:
        name: as in the rows.
        num_rows: rows looked at.
        num_filled: of them, with a value.
        num_distinct: different values.
        numeric: share of filled values that are numbers.
        integral: share of filled values that are whole numbers.
        dated: share of filled values that are dates.
        listed: share of filled values that are lists.
        spanned: share of filled values that are lists of labelled spans, empty lists aside.
        tokens: mean number of words, or of Han, kana and Hangul characters.
        chars: mean number of characters.
        divided: share of filled values that say train, valid or test.
        coded: whether every value is one short ASCII word, and digits or a fixed length make them look like keys.
    """

    name: str
    num_rows: int
    num_filled: int
    num_distinct: int
    numeric: float
    integral: float
    dated: float
    listed: float
    spanned: float
    tokens: float
    chars: float
    divided: float
    coded: bool

    @property
    def distinct_share(self) -> float:
        """Different values a filled row."""
        return self.num_distinct / max(1, self.num_filled)

    @property
    def is_free_text(self) -> bool:
        """Whether it reads like language rather than like categories, numbers, dates or keys."""
        if self.numeric > 0.5 or self.dated > 0.5 or self.listed > 0.5 or self.tokens < 2.5:
            return False
        return self.distinct_share >= 0.3 or (self.num_distinct >= 200 and self.tokens >= 5)

    @property
    def is_key(self) -> bool:
        """Whether its values look like identifiers: all different, short, no language."""
        if self.num_filled < self.num_rows or self.distinct_share < 1 or self.listed:
            return False
        return self.integral == 1 or (self.coded and self.dated < 0.5)


def profile_columns(rows: Sequence[dict[str, Any]]) -> dict[str, ColumnProfile]:
    """A profile of every column, from rows evenly spread over the table."""
    step = max(1, math.ceil(len(rows) / SAMPLE_ROWS))
    sample = rows[::step]
    names = list(dict.fromkeys(name for row in sample for name in row))
    return {name: _profile(name, [row.get(name) for row in sample]) for name in names}


def _profile(name: str, values: Sequence[Any]) -> ColumnProfile:
    filled = [value for value in values if not is_blank(value)]
    count = max(1, len(filled))
    numbers = [parse_number(value) for value in filled]
    texts = [str(value) for value in filled[:2_000]]
    lists = [value for value in filled if isinstance(value, list)]
    return ColumnProfile(
        name=name,
        num_rows=len(values),
        num_filled=len(filled),
        num_distinct=len({_hashable(value) for value in filled}),
        numeric=sum(n is not None for n in numbers) / count,
        integral=sum(n is not None and n.is_integer() for n in numbers) / count,
        dated=sum(isinstance(v, str) and parse_time(v) is not None for v in filled[:500]) / min(count, 500),
        listed=len(lists) / count,
        spanned=_spanned(filled[:500]),
        tokens=float(np.mean([len(_TOKEN.findall(text[:2_000])) for text in texts])) if texts else 0.0,
        chars=float(np.mean([len(text) for text in texts])) if texts else 0.0,
        divided=sum(str(value).strip().lower() in SPLIT_VALUES for value in filled) / count,
        coded=_coded(texts),
    )


def _spanned(values: Sequence[Any]) -> float:
    """An empty list may be no spans or no labels: the others tell."""
    told = [value for value in values if not (isinstance(value, list) and not value)] or values
    return sum(parse_spans(value) is not None for value in told) / max(1, len(told))


def _coded(texts: Sequence[str]) -> bool:
    if not texts or not all(_CODE.fullmatch(text) for text in texts):
        return False
    digits = sum(any(c.isdigit() for c in text) for text in texts)
    return digits >= 0.5 * len(texts) or len({len(text) for text in texts}) == 1


def is_blank(value: Any) -> bool:
    """Missing: None, NaN, or text of spaces only."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and not value.strip()


def parse_time(value: Any) -> float | None:
    """Seconds since 1970 (UTC where no zone is given) of an ISO or Chinese date, or of a plain number; else None."""
    number = parse_number(value)
    if number is not None:
        return number if not isinstance(value, str) else None
    text = str(value).strip()
    if not 8 <= len(text) <= 40:
        return None
    text = _CHINESE_DATE.sub(lambda m: f"{m[1]}-{int(m[2]):02}-{int(m[3]):02}", text)
    text = _DATE.sub(lambda m: "-".join(f"{int(part):02}" for part in re.split(r"[-/.]", m[0])), text, count=1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_spans(value: Any) -> list[dict[str, Any]] | None:
    """Labelled spans from a list or its JSON text, as annotation tools write them; None where it is something else.

    A span is an object with where it starts, where it ends (exclusive) and its label, or a list of the three.
    """
    if isinstance(value, str):
        if not value.lstrip().startswith("[") or len(value) > _MAX_PARSED_CHARS:
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if not isinstance(value, list):
        return None
    spans = [_span(item) for item in value]
    return None if None in spans else spans  # type: ignore[return-value]


def _span(item: Any) -> dict[str, Any] | None:
    if isinstance(item, list | tuple) and len(item) == len(_SPAN_KEYS) and isinstance(item[-1], str):
        found = dict(zip(_SPAN_KEYS, item, strict=True))
    elif isinstance(item, dict):
        found = {part: item[name] for part, names in _SPAN_KEYS.items() for name in reversed(names) if name in item}
    else:
        return None
    if isinstance(found.get("label"), list) and len(found["label"]) == 1:
        found["label"] = found["label"][0]
    if found.keys() < _SPAN_KEYS.keys() or is_blank(found["label"]) or isinstance(found["label"], list | dict):
        return None
    whole = all(isinstance(found[part], int) and not isinstance(found[part], bool) for part in ("start", "end"))
    return found if whole else None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, sort_keys=True, default=str)
