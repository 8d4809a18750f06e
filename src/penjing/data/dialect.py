"""How a delimited text file is written: its delimiter, its quotes, its header.

Every combination is tried on the first rows; the one that gives each row the same number of fields wins. Text holds
commas, quotes and at-signs too, so counting characters (as `csv.Sniffer` does) is not enough.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.data.naming import is_known_name

if TYPE_CHECKING:
    from _csv import Reader

_DELIMITERS = (",", "\t", ";", "|", "@", "\x01")
_USUAL = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_STEADY = 0.98
_MAX_SAMPLE_ROWS = 1_000


@dataclass(frozen=True)
class Dialect:
    """How lines become fields.

    Args:
        delimiter: between fields; None when a line is one field.
        quoted: whether double quotes enclose fields.
    """

    delimiter: str | None
    quoted: bool

    def parse(self, lines: Sequence[str]) -> list[list[str]]:
        """Fields of these lines, blank lines left out."""
        if self.delimiter is None:
            return [[line.rstrip("\r\n")] for line in lines if line.strip()]
        return [row for row in self.reader(lines) if row]

    def reader(self, lines: Iterable[str], *, strict: bool = False) -> Reader:
        """A `csv.reader` with this delimiter and these quotes; strict refuses misplaced and open quotes."""
        assert self.delimiter is not None, "a line that is one field needs no reader"
        if self.quoted:
            return csv.reader(lines, delimiter=self.delimiter, strict=strict)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)


def sniff_dialect(lines: Sequence[str], path: Path, *, delimiter: str | None, quoted: bool | None) -> Dialect:
    """Choose a dialect for the first lines of a file.

    Args:
        lines: the first lines, whole.
        path: its name breaks ties (.csv, .tsv).
        delimiter: the user's choice, if any.
        quoted: the user's choice, if any.
    """
    suffix = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    usual = _USUAL.get(suffix)
    candidates = (delimiter,) if delimiter else tuple(c for c in _DELIMITERS if c == usual or not _punctuates(c, lines))
    scored = []
    for candidate in candidates:
        for quotes in (quoted,) if quoted is not None else (True, False):
            dialect = Dialect(candidate, quotes)
            share, width = _steadiness(dialect, lines)
            if width > 1:
                fits = quotes == (_quotes_used(lines, candidate) or candidate in {",", ";"})
                scored.append((share >= _STEADY, candidate == usual, round(share, 3), fits, width, dialect))
    best = max(scored, key=lambda item: item[:5], default=None)
    if delimiter:
        return best[-1] if best else Dialect(delimiter, quoted is not False)
    if best and (best[0] or (usual and best[1])):
        return best[-1]
    if usual is None:
        return Dialect(None, quoted=False)
    return Dialect(usual, _quotes_used(lines, usual) or usual == "," if quoted is None else quoted)


def _punctuates(mark: str, lines: Sequence[str]) -> bool:
    """Whether a mark is mostly followed by a space, as in sentences."""
    if mark not in ",;|":
        return False
    marks = sum(line.count(mark) for line in lines)
    return sum(line.count(f"{mark} ") for line in lines) > 0.5 * marks


def _steadiness(dialect: Dialect, lines: Sequence[str]) -> tuple[float, int]:
    """(share of rows with the most frequent number of fields, that number)."""
    try:
        rows = dialect.parse(lines)[:_MAX_SAMPLE_ROWS]
    except csv.Error:
        return 0.0, 0
    widths = Counter(len(row) for row in rows)
    if not widths:
        return 0.0, 0
    width, count = widths.most_common(1)[0]
    return count / len(rows), width


def _quotes_used(lines: Sequence[str], delimiter: str) -> bool:
    """Whether some field is enclosed in quotes and holds what needs them: the delimiter, a quote, a line end."""
    for line in lines:
        text = line.rstrip("\r\n")
        for part in text.split(delimiter):
            if len(part) > 2 and part[0] == part[-1] == '"' and '""' in part[1:-1]:
                return True
        opening = f'"{text}' if text.startswith('"') else text
        if f'{delimiter}"' in opening and f'"{delimiter}' in text:
            return True
    return False


def looks_like_header(rows: Sequence[Sequence[str]], wanted: Collection[str] = ()) -> bool:
    """Whether the first row names the columns.

    A column the reader wants decides, then names many people use; else numbers under a word speak for a header, a
    number or a repeated value in the first row against it.
    """
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if any(cell.strip() in wanted for cell in first):
        return True
    if not any(cell.strip() for cell in first):
        return False
    if any(_is_number(cell) for cell in first):
        return False
    if any(is_known_name(cell) for cell in first) and all(len(cell) <= 64 for cell in first):
        return True
    if not rest or any(len(cell) > 128 for cell in first):
        return False
    votes = sum(_vote(first[c], [row[c] for row in rest]) for c in range(len(first)))
    return votes > 0


def _vote(head: str, cells: Sequence[str]) -> int:
    filled = [cell for cell in cells if cell.strip()]
    if not filled:
        return 0
    if sum(_is_number(cell) for cell in filled) >= 0.9 * len(filled):
        return 2
    distinct = len(set(filled))
    if len(filled) >= 8 and distinct <= 0.5 * len(filled):
        return -3 if head in set(filled) else 1
    return 0


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True
