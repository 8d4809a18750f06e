"""Text that is safe to show on a terminal, and how figures are written there."""

from __future__ import annotations

import re

# C0 and C1 controls would let a row of the user's data move the cursor or rename the window; the marks of direction
# would let it rearrange the line.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """The text on one line, its control characters as escapes."""
    return _CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), str(text))


def duration(seconds: float) -> str:
    """Seconds as "45 s", "3:20" or "1:02:03"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def quantity(value: float, unit: str) -> str:
    """An amount as "1,200 rows" or "3.4 MB"."""
    if unit == "bytes":
        return f"{value / 1e6:.1f} MB"
    return f"{value:,.0f} {unit}"
