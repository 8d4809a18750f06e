"""Numbers as people write them in tables: one reading for labels and features alike."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Any

import numpy as np

# Thousands never begin with a zero: "034,101" is two codes.
_NUMBER = re.compile(r"[+-]?([1-9]\d{0,2}(,\d{3})+|\d+|(?=\.\d))(\.\d*)?([eE][+-]?\d{1,3})?")
_MAX_CHARS = 40


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
