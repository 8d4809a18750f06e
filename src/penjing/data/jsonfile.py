"""JSON Lines, and JSON arrays of objects, one object at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError
from penjing.data.columnar import check_row
from penjing.data.config import LimitsConfig
from penjing.data.textlines import text_lines, text_pieces

_MAX_WRAPPED_CHARS = 200_000_000
_WRAPPERS = ("data", "rows", "records", "items", "examples", "results")


def sniff_json(path: Path, encoding: str, limits: LimitsConfig) -> str | None:
    """How the file is written: "jsonl", "array", "object" (one object around the rows), or None for no JSON at all."""
    head = next(text_pieces(path, encoding, limits.max_cell_chars), "").lstrip()
    if not head.startswith(("[", "{")):
        return None
    if head[0] == "[":
        return "array" if head[1:2] == "" or head[1:].lstrip()[:1] in {"{", "]", ""} else None
    first, _, rest = head.partition("\n")
    try:
        value = json.loads(first)
    except ValueError:
        return "object"
    # One line alone is one row, unless it is a wrapper around the rows.
    wraps = not rest.strip() and any(isinstance(value.get(key), list) for key in _WRAPPERS)
    return "object" if wraps else "jsonl"


def read_jsonl(path: Path, encoding: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, object).

    Raises:
        DataError: a line is no JSON object, or a cell is too long.
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    for number, line in enumerate(text_lines(path, encoding, limits.max_cell_chars), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = decoder.decode(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"not valid JSON ({error})",
                where=where,
                expected="one JSON object a line",
                next_step="correct the line",
            ) from None
        yield number, _checked(value, where, limits)


def read_json_array(path: Path, encoding: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (position from 1, object) of a JSON array, decoding one element at a time.

    Raises:
        DataError: not an array of objects, or it ends too early.
    """
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    pieces = text_pieces(path, encoding)
    buffer = next(pieces, "").lstrip()[1:]
    number = 0
    while True:
        buffer = buffer.lstrip(" \t\r\n,")
        if buffer.startswith("]"):
            return
        where = f"{path}, element {number + 1}"
        try:
            value, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError) as error:
            # Perhaps the element goes on: read at least as much again, so that the work stays linear.
            more = _take(pieces, max(1, len(buffer)))
            if more and len(buffer) < limits.max_cell_chars * 8:
                buffer += more
                continue
            raise DataError(
                f"not valid JSON ({error})", where=where, next_step="check that the file is whole"
            ) from None
        buffer = buffer[end:]
        number += 1
        yield number, _checked(value, where, limits)


def _take(pieces: Iterator[str], size: int) -> str:
    parts, length = [], 0
    for piece in pieces:
        parts.append(piece)
        length += len(piece)
        if length >= size:
            break
    return "".join(parts)


def read_json_object(path: Path, encoding: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (position, object) of the one list of objects inside a JSON object, such as {"data": [...]}.

    Raises:
        DataError: no or several such lists, not JSON, or the file is too large to be held in memory.
    """
    text = _take(text_pieces(path, encoding), _MAX_WRAPPED_CHARS)
    if len(text) >= _MAX_WRAPPED_CHARS:
        raise DataError(
            f"a JSON object of more than {_MAX_WRAPPED_CHARS:,} characters",
            where=str(path),
            expected="JSON Lines, which can be read row by row",
            next_step="write one JSON object a line",
        )
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not valid JSON ({error})", where=str(path), next_step="check that the file is whole"
        ) from None
    lists = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)}
    if len(lists) != 1:
        found = f"{len(lists)} lists of objects ({', '.join(lists)})" if lists else "no list of objects"
        raise DataError(f"the JSON object holds {found}", where=str(path), expected="exactly one list of row objects")
    key, rows = next(iter(lists.items()))
    for number, row in enumerate(rows, start=1):
        yield number, _checked(row, f"{path}, {key}[{number - 1}]", limits)


def _no_constant(name: str) -> None:
    """NaN and Infinity are not JSON, but pandas writes NaN for a missing value."""
    if name != "NaN":
        raise ValueError(f"{name} is not a JSON value")


def _checked(value: Any, where: str, limits: LimitsConfig) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"a JSON {type(value).__name__}", where=where, expected="a JSON object (column: value)")
    if len(value) > limits.max_columns:
        raise DataError(f"{len(value):,} keys", where=where, expected=f"at most {limits.max_columns:,}")
    return check_row(value, where, limits)
