"""The page's words in one language, and its numbers as people read them."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
MISSING = "–"
_DIRECTORY = Path(__file__).parent


@cache
def catalogue(language: Language) -> dict[str, str]:
    """Key → text of one language."""
    return dict(json.loads((_DIRECTORY / f"{language}.json").read_text(encoding="utf-8")))


class Words:
    """Looks up texts by key and formats numbers.

    Args:
        language: of the page.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = catalogue(language)

    def __call__(self, key: str, **values: object) -> str:
        """The text of a key with its places filled; an unknown key is a bug of ours and raises KeyError."""
        return self._texts[key].format(**values)

    def has(self, key: str) -> bool:
        """Whether the catalogue knows a key."""
        return key in self._texts

    def named(self, prefix: str, name: str) -> str:
        """A name that third parties may extend (metrics, languages): translated where known, else as it is."""
        key = f"{prefix}.{name}"
        return self._texts[key] if key in self._texts else name.replace("_", " ")

    def title(self, prefix: str, name: str) -> str:
        """The same at the start of a line."""
        text = self.named(prefix, name)
        return text[:1].upper() + text[1:]

    @property
    def space(self) -> str:
        """Between two sentences."""
        return "" if self.language == "zh" else " "

    @property
    def colon(self) -> str:
        """Before what is said in detail."""
        return "：" if self.language == "zh" else ": "

    @property
    def comma(self) -> str:
        """Between the members of a list."""
        return "、" if self.language == "zh" else ", "


def metric(value: float | None, percent: bool, digits: int = 1) -> str:
    """A metric: 92.6% where it is a share, else three significant digits."""
    if value is None:
        return MISSING
    return f"{100 * value:.{digits}f}%" if percent else number(value)


def interval(low: float | None, high: float | None, percent: bool) -> str:
    """A range: "91.6–93.5"."""
    if low is None or high is None:
        return MISSING
    if percent:
        return f"{100 * low:.1f}–{100 * high:.1f}"
    # A dash after a minus sign cannot be read.
    return f"{number(low)} … {number(high)}" if low < 0 else f"{number(low)}–{number(high)}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, thousands grouped, never in powers of ten."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    return text.replace("-", "−")


def bound(value: float, *, up: bool, digits: int = 2) -> str:
    """A number of so many digits that is never on the wrong side of the value: "at most 0.44" of 0.431."""
    if value == 0:
        return "0"
    step = 10.0 ** (math.floor(math.log10(abs(value))) - digits + 1)
    # Figures come from subtractions: 0.30000000000000004 is not above 0.3.
    steps = value / step
    return number((math.ceil(steps - 1e-6) if up else math.floor(steps + 1e-6)) * step, digits)


def factor(value: float) -> str:
    """How many times as much: "0.31", "6.2", "25"."""
    return count(value) if value >= 9.95 else number(value, 2)


def count(value: float | None) -> str:
    """A whole number, thousands grouped."""
    return MISSING if value is None else f"{round(value):,}"


def p_value(value: float | None) -> str:
    """A p-value; below one in a thousand the digits mean nothing."""
    if value is None:
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
