"""Lines of a text file, one at a time, with bounds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from penjing.core.errors import DataError
from penjing.data.encoding import open_bytes, reading

LINE_CELLS = 4
_PROBE_BYTES = 16_000_000


def text_lines(path: Path, encoding: str, max_cell_chars: int, *, newline: str | None = None) -> Iterator[str]:
    """Yield the file's lines with their line ends.

    Args:
        path: a text file, perhaps .gz.
        encoding: a Python codec.
        max_cell_chars: a line may hold a few cells of this size.
        newline: as for `open`; "" keeps line ends as they are, which the csv module wants.

    Raises:
        DataError: a line is too long, holds a null byte, or is not in this encoding.
    """
    bound = max_cell_chars * LINE_CELLS
    number = 0
    with reading(path), open_bytes(path) as raw:
        text = io.TextIOWrapper(raw, encoding=encoding, newline=newline)
        try:
            while line := text.readline(bound + 1):
                number += 1
                _check_line(line, number, bound, path)
                yield line
        except UnicodeDecodeError as error:
            raise _wrong_encoding(path, encoding, number + 1, error) from None


def text_pieces(path: Path, encoding: str, size: int = 1 << 16) -> Iterator[str]:
    """Yield the file's text in pieces of `size` characters, wherever they end.

    Raises:
        DataError: a null byte, or bytes that are not in this encoding.
    """
    with reading(path), open_bytes(path) as raw:
        text = io.TextIOWrapper(raw, encoding=encoding)
        line = 1
        try:
            while piece := text.read(size):
                if "\0" in piece:
                    _check_line(piece, line + piece.count("\n", 0, piece.index("\0")), size, path)
                line += piece.count("\n")
                yield piece
        except UnicodeDecodeError as error:
            raise _wrong_encoding(path, encoding, line, error) from None


def _check_line(line: str, number: int, bound: int, path: Path) -> None:
    if len(line) > bound:
        raise DataError(
            f"the line is longer than {bound:,} characters",
            where=f"{path}:{number}",
            expected="one row a line",
            next_step="shorten the row, or raise data.limits.max_cell_chars",
        )
    if "\0" in line:
        raise DataError(
            f"null byte at character {line.index(chr(0)) + 1}",
            where=f"{path}:{number}",
            expected="plain text",
            next_step="delete the null bytes, or name the right data.format.encoding",
        )


def _wrong_encoding(path: Path, encoding: str, near: int, error: UnicodeDecodeError) -> DataError:
    """The decoder reads ahead, so the line is looked for again in the bytes."""
    line = _line_that_fails(path, encoding) or near
    byte = error.object[error.start : error.start + 1].hex()
    return DataError(
        f"byte 0x{byte} cannot be read as {encoding}",
        where=f"{path}:{line}",
        expected=f"text in {encoding}",
        next_step="leave data.format.encoding out to detect it, or name the right one (gb18030, latin-1, ...)",
    )


def _line_that_fails(path: Path, encoding: str) -> int | None:
    if encoding.startswith(("utf-16", "utf-32")):
        return None
    number = 0
    with open_bytes(path) as raw:
        while len(line := raw.readline(_PROBE_BYTES)) not in {0, _PROBE_BYTES}:
            number += 1
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                return number
    return None
