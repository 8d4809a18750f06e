"""Numbers as people write them in tables: one reading for labels and features alike."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

# Thousands never begin with a zero: "034,101" is two codes.
_NUMBER = re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+|(?=\.\d))(\.\d*)?([eE][+-]?\d{1,3})?")
_MAX_CHARS = 40
MISSING = frozenset({"", "na", "n/a", "nan", "null"})
# "none" is an answer in a column of words ("other debtors: none"), and a gap in a column of numbers.
MISSING_NUMBER = MISSING | {"none", "nil", "missing", "unknown", "?", "-", "--", "无", "未知", "缺失"}
_NEARLY_ALL = 0.95


def parse_number(value: Any) -> float | None:
    """A finite number from a number, a bool, or text such as "1,200.5", "12%", "¥300"; None if it is none."""
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    if not isinstance(value, (str, Decimal)):
        return None
    text = str(value).strip()
    scale = 0.01 if text.endswith("%") else 1.0
    text = text.removesuffix("%").removeprefix("¥").removeprefix("$").removeprefix("€").strip()
    if len(text) > _MAX_CHARS or not _NUMBER.fullmatch(text):
        return None
    number = float(text.replace(",", "")) * scale
    return number if math.isfinite(number) else None


def is_missing(value: Any, words: frozenset[str] = MISSING) -> bool:
    """Whether a value stands for "not known"."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in words


def warn_of_strays(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Warnings of columns that a few cells keep from being read as numbers."""
    warnings = []
    for column in columns:
        known = [row.get(column) for row in rows if not is_missing(row.get(column), MISSING_NUMBER)]
        strays = [value for value in known if parse_number(value) is None]
        if strays and len(strays) <= (1 - _NEARLY_ALL) * len(known):
            shown = ", ".join(dict.fromkeys(repr(str(value)[:40]) for value in strays[:3]))
            count = f"{len(strays):,} cell" + ("s" if len(strays) > 1 else "")
            warnings.append(
                f"warning: column {column!r} holds numbers but for {count} ({shown}), so it is read as categories; "
                "correct or empty them"
            )
    return warnings
