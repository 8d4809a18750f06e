"""Figures that a page states outside of its generated parts, where nothing keeps them true."""

from __future__ import annotations

import re

_COUNTED = (
    r"(?:\d[\d.,]*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|thousand)\b"
    r"|[零一二两三四五六七八九十百千半]+)"
)
_UNITS = (
    r"(?:%|×|(?:ms|s|min|h|[kMG]B|points?|seconds?|minutes?|hours?|megabytes|gigabytes|times|rows/s|rows a second"
    r"|samples/s)\b|毫秒|秒|分钟|小时|兆|个?百分点|倍|成(?![为本功]))"
)
_SHARES = (
    r"\ba? ?(?:half|third|quarter|fifth|tenth|hundredth)s? (?:of|as|the)\b"
    r"|[二三四五六七八九十百千]+分之[一二三四五六七八九十]+"
)
CLAIM = re.compile(rf"{_COUNTED}[ -]?(?:or more )?{_UNITS}|{_SHARES}")

# What looks like a claim and is none, with the reason.
ALLOWED = {
    "95% interval": "a level, not a result",
    "95% 置信区间": "a level, not a result",
}


def stray_claims(page: str) -> list[tuple[int, str]]:
    """Lines that state a share, a time, a size or a speed by hand.

    Args:
        page: Markdown. Generated parts and blocks of code are not looked at.

    Returns:
        The number of each such line, and the words found.
    """

    def blank(found: re.Match[str]) -> str:
        return "\n" * found[0].count("\n")

    text = re.sub(r"<!-- begin ([\w-]+) -->.*?<!-- end \1 -->", blank, page, flags=re.DOTALL)
    text = re.sub(r"^```.*?^```$", blank, text, flags=re.DOTALL | re.MULTILINE)
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    return [(i, found[0]) for i, line in enumerate(text.splitlines(), 1) for found in CLAIM.finditer(line)]
