"""Labelled spans of a text: reading them from cells, and choosing among candidates that overlap."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from penjing.core.errors import DataError
from penjing.core.task import Row, Span
from penjing.data.labels import MAX_LABEL_CHARS

MAX_SPANS = 10_000
# Below this share of spans, overlaps are slips of the annotators rather than something to learn.
OVERLAP_SHARE = 0.01


class Overlap(StrEnum):
    """Which spans of one text may share characters."""

    NONE = "none"
    LABELS = "labels"
    """Spans of different labels only."""
    ANY = "any"


def spans_cell(row: Row, column: str | None, text: str, position: int) -> tuple[Span, ...]:
    """The spans of one row, sorted, without repetitions, blanks at their ends trimmed off.

    Args:
        row: the row.
        column: holds a list of ``{"start", "end", "label"}``, or that list as JSON text; empty means none.
        text: what the spans point into, in characters.
        position: of the row, for messages.

    Raises:
        DataError: not such a list, or a span that is empty or outside the text.
    """
    where = f"row {position}"
    if column is None or column not in row:
        raise DataError(f"has no spans column {column!r}", where=where)
    entries = _entries(row[column], column, where)
    return tuple(sorted({_span(entry, text, f"{where}, span {i}") for i, entry in enumerate(entries)}))


def _entries(cell: Any, column: str, where: str) -> list[Any]:
    if isinstance(cell, str):
        try:
            cell = json.loads(cell) if cell.strip() else []
        except (ValueError, RecursionError):
            raise DataError(
                f"{column!r} is no JSON: {cell[:60]!r}", where=where, expected='[{"start": 0, "end": 2, "label": "x"}]'
            ) from None
    if cell is None or (isinstance(cell, float) and cell != cell):
        return []
    if not isinstance(cell, list | tuple):
        raise DataError(f"{column!r} holds a {type(cell).__name__}", where=where, expected="a list of spans")
    if len(cell) > MAX_SPANS:
        raise DataError(f"{len(cell):,} spans", where=where, expected=f"at most {MAX_SPANS:,}")
    return list(cell)


def _span(entry: Any, text: str, where: str) -> Span:
    if not isinstance(entry, dict) or not {"start", "end", "label"} <= entry.keys():
        raise DataError(f"is {str(entry)[:80]!r}", where=where, expected='{"start": 0, "end": 2, "label": "x"}')
    start, end, label = entry["start"], entry["end"], entry["label"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise DataError(
            f"covers characters {start!r} to {end!r}",
            where=where,
            expected=f"whole numbers with 0 <= start < end <= {len(text)}, the length of the text",
        )
    if not isinstance(label, str) or not label.strip() or len(label) > MAX_LABEL_CHARS:
        raise DataError(f"has the label {str(label)[:60]!r}", where=where, expected="a short, non-empty string")
    piece = text[start:end]
    if not piece.strip():
        raise DataError("covers nothing but blanks", where=where)
    return Span(start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip()), label.strip())


def observed_overlap(rows: Sequence[Sequence[Span]]) -> Overlap:
    """What kind of overlap these rows hold, slips aside."""
    total = same = other = 0
    for spans in rows:
        ordered = sorted(spans)
        total += len(ordered)
        for i, first in enumerate(ordered):
            for second in ordered[i + 1 :]:
                if second.start >= first.end:
                    break
                same += first.label == second.label
                other += first.label != second.label
    if same > OVERLAP_SHARE * total:
        return Overlap.ANY
    return Overlap.LABELS if other > OVERLAP_SHARE * total else Overlap.NONE


def choose(candidates: Sequence[tuple[float, Span]], overlap: Overlap) -> list[tuple[float, Span]]:
    """Keep candidates from the highest score down, each unless it clashes with one already kept.

    Args:
        candidates: (score, span) pairs.
        overlap: which spans may share characters.

    Returns:
        The kept pairs in the order of their spans.
    """
    kept: list[tuple[float, Span]] = []
    taken: dict[str, list[Span]] = {}
    for score, span in sorted(candidates, key=lambda pair: (-pair[0], pair[1])):
        group = taken.setdefault("" if overlap is Overlap.NONE else span.label, [])
        clash = (other == span if overlap is Overlap.ANY else _share(other, span) for other in group)
        if not any(clash):
            group.append(span)
            kept.append((score, span))
    return sorted(kept, key=lambda pair: pair[1])


def _share(first: Span, second: Span) -> bool:
    return first.start < second.end and second.start < first.end
