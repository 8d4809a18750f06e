"""CSV, TSV and their kin, with the standard library only, row by row."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError
from penjing.data.config import FormatConfig, LimitsConfig
from penjing.data.dialect import Dialect, looks_like_header, sniff_dialect
from penjing.data.encoding import detect_encoding
from penjing.data.textlines import LINE_CELLS, text_lines

_SAMPLE_LINES = 2_000
_SAMPLE_CHARS = 2_000_000


@dataclass(frozen=True)
class DelimitedLayout:
    """What was found out about a delimited file.

    Args:
        encoding: a Python codec.
        dialect: delimiter and quotes.
        names: column names, in order.
        header: whether the first row of the file is these names.
    """

    encoding: str
    dialect: Dialect
    names: tuple[str, ...]
    header: bool

    def describe(self) -> str:
        """For the person who asks how the file was read."""
        marks = {None: "one field a line", "\t": "tab-separated", ",": "comma-separated"}
        mark = marks.get(self.dialect.delimiter, f"fields separated by {self.dialect.delimiter!r}")
        return f"{self.encoding}, {mark}, {'first row is the header' if self.header else 'no header'}"


def inspect_delimited(
    path: Path, form: FormatConfig, limits: LimitsConfig, wanted: Collection[str] = ()
) -> DelimitedLayout:
    """Detect what the user did not say.

    Args:
        path: the file.
        form: what the user said.
        limits: bounds.
        wanted: columns that will be looked for; a first row that names one is a header.

    Raises:
        DataError: the file is empty or binary, or column names repeat.
    """
    # The csv module's field limit is global to the process: it is only ever raised here, above what a line may hold;
    # cells are checked one by one when they are read.
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_cell_chars * (LINE_CELLS + 1)))
    encoding = form.encoding or detect_encoding(path)
    lines = _first_lines(path, encoding, limits)
    if not any(line.strip() for line in lines):
        raise DataError("the file holds no text", where=str(path), expected="rows of data")
    if form.kind == "lines":
        dialect = Dialect(None, quoted=False)
    else:
        dialect = sniff_dialect(lines, path, delimiter=form.delimiter, quoted=form.quoted)
    try:
        rows = dialect.parse(lines)
    except csv.Error as error:
        raise DataError(f"cannot be parsed ({error})", where=str(path), next_step=_QUOTE_STEP) from None
    names, header = _column_names(rows, form.header, wanted, path)
    if len(names) > limits.max_columns:
        raise DataError(f"{len(names):,} columns", where=f"{path}:1", expected=f"at most {limits.max_columns:,}")
    return DelimitedLayout(encoding, dialect, names, header)


_QUOTE_STEP = "close the quote, or set data.format.quoted: false when quotes are ordinary characters"


def _first_lines(path: Path, encoding: str, limits: LimitsConfig) -> list[str]:
    lines: list[str] = []
    size = 0
    for line in text_lines(path, encoding, limits.max_cell_chars, newline=""):
        lines.append(line)
        size += len(line)
        if len(lines) >= _SAMPLE_LINES or size >= _SAMPLE_CHARS:
            break
    return lines


def _column_names(
    rows: Sequence[Sequence[str]], given: bool | tuple[str, ...] | None, wanted: Collection[str], path: Path | str
) -> tuple[tuple[str, ...], bool]:
    width = Counter(len(row) for row in rows).most_common(1)[0][0]
    if isinstance(given, tuple):
        _check_duplicates(given, path)
        return given, len(rows[0]) == len(given) and tuple(cell.strip() for cell in rows[0]) == given
    header = looks_like_header(rows, wanted) if given is None else given
    if not header:
        return (("text",) if width == 1 else tuple(f"column_{i + 1}" for i in range(width))), False
    names = tuple(cell.strip() or f"column_{i + 1}" for i, cell in enumerate(rows[0]))
    _check_duplicates(names, path)
    return names, True


def _check_duplicates(names: Sequence[str], path: Path | str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"duplicate column names: {', '.join(map(repr, repeated))}",
            where=f"{path}:1",
            expected="a different name for each column",
            next_step="rename them in the file, or list the names under data.format.header",
        )


def read_delimited(path: Path, layout: DelimitedLayout, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line the row starts at, row); empty cells are None.

    Raises:
        DataError: a row has too few or too many fields, a cell is too long, a quote is never closed.
    """
    lines = text_lines(path, layout.encoding, limits.max_cell_chars, newline="")
    records: Iterator[tuple[int, list[str]]]
    if layout.dialect.delimiter is None:
        records = ((n, [line.rstrip("\r\n")]) for n, line in enumerate(lines, start=1) if line.strip())
    else:
        records = _csv_records(path, lines, layout.dialect)
    yield from _rows(itertools.islice(records, 1, None) if layout.header else records, path, layout, limits)


def delimited_lines(lines: Iterator[str], where: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """As `read_delimited`, of lines that come from elsewhere, with their ends: a header, then rows.

    Fields are separated by what separates the names of the header: commas, tabs, semicolons or bars.

    Raises:
        DataError: as `read_delimited`.
    """
    csv.field_size_limit(max(csv.field_size_limit(), limits.max_cell_chars * (LINE_CELLS + 1)))
    begin: list[str] = []
    while not "".join(begin).strip() and (line := next(lines, None)) is not None:
        begin.append(line)
    dialect = Dialect(max(",\t;|", key="".join(begin).count), quoted=True)  # of equals, the first
    records = _csv_records(where, itertools.chain(begin, lines), dialect)
    number, header = next(records, (1, []))
    if not header:
        return
    names, _ = _column_names([header], True, (), where)
    if len(names) > limits.max_columns:
        raise DataError(
            f"{len(names):,} columns", where=f"{where}:{number}", expected=f"at most {limits.max_columns:,}"
        )
    yield from _rows(records, where, DelimitedLayout("utf-8", dialect, names, header=True), limits)


def _rows(
    records: Iterator[tuple[int, list[str]]], path: Path | str, layout: DelimitedLayout, limits: LimitsConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    width = len(layout.names)
    for number, fields in records:
        if len(fields) != width:
            raise _ragged(path, number, fields, layout)
        for name, cell in zip(layout.names, fields, strict=True):
            if len(cell) > limits.max_cell_chars:
                raise too_long(f"{path}:{number}", name, len(cell), limits)
        yield number, {name: cell or None for name, cell in zip(layout.names, fields, strict=True)}


def _csv_records(path: Path | str, lines: Iterator[str], dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    written: list[str] = []  # lines of the record at hand

    def kept() -> Iterator[str]:
        for line in lines:
            written.append(line)
            yield line

    reader = dialect.reader(kept())
    start = 1
    try:
        for fields in reader:
            # Within a line a stray quote does no harm; over several, it has swallowed the rows that follow.
            if len(written) > 1:
                list(dialect.reader(written, strict=True))
            written.clear()
            if fields:
                yield start, fields
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"the row that starts here cannot be parsed ({error})", where=f"{path}:{start}", next_step=_QUOTE_STEP
        ) from None


def _ragged(path: Path | str, number: int, fields: Sequence[str], layout: DelimitedLayout) -> DataError:
    width = len(layout.names)
    mark = layout.dialect.delimiter
    few = len(fields) < width
    step = "complete the row" if few else f"enclose fields that hold {mark!r} in double quotes"
    return DataError(
        f"the row has {len(fields)} field{'s' if len(fields) != 1 else ''}",
        where=f"{path}:{number}",
        expected=f"{width} ({', '.join(layout.names[:6])}{', ...' if width > 6 else ''})",
        next_step=f"{step}, or name the right data.format.delimiter" if isinstance(path, Path) else step,
    )


def too_long(where: str, column: str, length: int, limits: LimitsConfig) -> DataError:
    """A cell above the bound."""
    return DataError(
        f"the cell of column {column!r} has {length:,} characters",
        where=where,
        expected=f"at most {limits.max_cell_chars:,}",
        next_step="shorten or remove the row, or raise data.limits.max_cell_chars",
    )
