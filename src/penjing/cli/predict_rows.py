"""The rows `penjing predict` reads, and where each came from, for messages."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import IO, Any

from penjing.core.errors import DataError
from penjing.core.events import Listener, Notice
from penjing.core.task import Roles
from penjing.data.config import ColumnsConfig, DataConfig, LimitsConfig
from penjing.data.delimited import delimited_lines
from penjing.data.sources import stream_rows
from penjing.data.tags import text_of_tokens
from penjing.pipeline.labelled import rename

MAX_LINE_BYTES = 16_000_000
_REMEMBERED = 20_000  # more than a predictor reads ahead
_FIELD_ENDS = re.compile(r"[,;|\t]")
_POSITION = re.compile(r"inputs\[(\d+)\]")

Row = dict[str, Any]


class Rows:
    """Rows with their ids, read once; the ids of the last rows are remembered.

    Args:
        pairs: (row id, row).
    """

    def __init__(self, pairs: Iterable[tuple[str, Row]]) -> None:
        self.pairs = pairs
        self.handed_out = 0
        self.recent: deque[str] = deque(maxlen=_REMEMBERED)

    def __iter__(self) -> Iterator[Row]:
        for row_id, row in self.pairs:
            self.recent.append(row_id)
            self.handed_out += 1
            yield row

    @contextmanager
    def located(self) -> Iterator[None]:
        """Inside, an error at "inputs[7]" gets the row's own id as its place."""
        try:
            yield
        except DataError as error:
            found = _POSITION.fullmatch(error.where or "")
            place = int(found[1]) - (self.handed_out - len(self.recent)) if found else -1
            if not 0 <= place < len(self.recent):
                raise
            raise DataError(
                error.what, where=self.recent[place], expected=error.expected, next_step=error.next_step
            ) from None


def given(texts: Sequence[str], roles: Roles) -> Rows:
    """Texts of the command line; for pairs, two by two.

    Raises:
        DataError: the artifact wants columns, or an odd number of texts for pairs.
    """
    names = text_columns(roles)
    if not names:
        raise DataError(
            "this artifact predicts from columns, not from a text",
            where="--input",
            expected=f"the columns {', '.join(roles.features[:10])}",
            next_step="give a file, or JSON lines: penjing predict ARTIFACT - --stdin-format jsonl",
        )
    if len(texts) % len(names):
        raise DataError(f"{len(texts)} texts for pairs", where="--input", expected="two texts a pair")
    groups = [texts[i : i + len(names)] for i in range(0, len(texts), len(names))]
    return Rows((f"--input {i}", dict(zip(names, group, strict=True))) for i, group in enumerate(groups, 1))


def of_source(source: str, settings: DataConfig, roles: Roles, text: str | None, listener: Listener) -> Rows:
    """Rows of a file or any other data source, in constant memory.

    Args:
        source: as in a recipe.
        settings: how the artifact's own rows were read; its source is replaced.
        roles: the columns the artifact reads.
        text: the column with the text, where the source calls it otherwise.
        listener: told of downloads.

    Raises:
        DataError: it cannot be read, or lacks a column the artifact needs.
    """
    columns = ColumnsConfig(text=text or roles.text, text_pair=roles.text_pair, features=roles.features or None)
    try:
        config = DataConfig.of(source, settings).model_copy(update={"columns": columns})
        tables = stream_rows(source, config, listener=listener)
        pairs = ((row_id, row) for table in tables for row_id, row in zip(table.row_ids, table.rows, strict=True))
        return _checked(pairs, roles, text, source, listener)
    except DataError as error:
        if " " in source and error.what == "no such file":
            raise DataError(
                error.what, where=source, expected=error.expected, next_step="to predict a text, give it with --input"
            ) from None
        raise


def of_stdin(
    stream: IO[bytes], form: str, roles: Roles, text: str | None, limits: LimitsConfig, listener: Listener
) -> Rows:
    """Lines of standard input: a text each, a JSON object each, or fields under a header.

    Args:
        stream: standard input.
        form: "lines", "jsonl" or "csv".
        roles: the columns the artifact reads.
        text: the column with the text, where it is called otherwise.
        limits: bounds of CSV.
        listener: told of what looks like a mistake.

    Raises:
        DataError: a line is too long, not UTF-8, no JSON object, or has not as many fields as the header.
    """
    if form == "jsonl":
        rows = _objects(stream)
        if roles.text is not None:
            column = text or roles.text
            rows = ((place, text_of_tokens(row, column)) for place, row in rows)
        return _checked(rows, roles, text, "standard input", listener)
    if form == "csv":
        found = delimited_lines((line for _, line in _whole_lines(stream)), "standard input", limits)
        pairs = ((f"standard input:{n}", row) for n, row in found)
        return _checked(pairs, roles, text, "standard input", listener)
    names = text_columns(roles)
    if len(names) != 1:
        raise DataError(
            "a line holds one text, and this artifact needs more",
            where="standard input",
            next_step="give JSON objects or CSV: --stdin-format jsonl, --stdin-format csv",
        )
    return Rows((place, {names[0]: line}) for place, line in _unheaded(_lines(stream), text or names[0], listener))


def _unheaded(lines: Iterator[tuple[str, str]], name: str, listener: Listener) -> Iterator[tuple[str, str]]:
    """The lines; it is said where the first one looks like a header."""
    for number, (place, line) in enumerate(lines):
        if not number and name in _FIELD_ENDS.split(line):
            said = f"the first line has the column's name, {name!r}, and is predicted like the others"
            listener(Notice("predict", f"{said}; if it is a header, give --stdin-format csv", "warning"))
        yield place, line


def text_columns(roles: Roles) -> list[str]:
    """The columns of text the artifact reads: none, one or two."""
    return [name for name in (roles.text, roles.text_pair) if name is not None]


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    return ((place, line.rstrip("\r\n")) for place, line in _whole_lines(stream))


def _whole_lines(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), 1):
        place = f"standard input, line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise DataError(f"longer than {MAX_LINE_BYTES:,} bytes", where=place, next_step="give shorter texts")
        try:
            # Excel, and what `predict` itself writes for it, begins with a byte order mark.
            yield place, line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"not UTF-8 ({error.reason})", where=place, next_step="convert it to UTF-8") from None


def _objects(stream: IO[bytes]) -> Iterator[tuple[str, Row]]:
    for place, line in _lines(stream):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON ({error})", where=place) from None
        if not isinstance(row, dict):
            raise DataError(f"a JSON {type(row).__name__}", where=place, expected="an object: column → value")
        yield place, row


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number; write null where a value is not known")


def _checked(pairs: Iterator[tuple[str, Row]], roles: Roles, text: str | None, where: str, listener: Listener) -> Rows:
    """Rows under the artifact's column names; the first row must have them all."""
    first = next(pairs, None)
    if first is None:
        raise DataError("no rows", where=where, expected="at least one row of data")
    names = text_columns(roles)
    columns = list(first[1])
    if text is None and len(names) == 1 and names[0] not in columns and len(columns) == 1:
        text = columns[0]  # whatever its name, there is no other
        said = f"column {text!r} is read as the text, because it is the only one"
        listener(Notice("predict", f"{said}; --text says so without this notice", "warning"))
    renamed = {text: names[0]} if text is not None and names else {}
    missing = [name for name in (*names, *roles.features) if name not in columns and name not in renamed.values()]
    if text is not None and text not in columns:
        missing = [text]
    if missing:
        raise DataError(
            f"column{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing[:10]))} missing",
            where=where,
            expected=f"the columns the artifact was trained on; there are {', '.join(map(repr, columns[:10]))}",
            next_step="name the column of the text: --text COLUMN" if names else "rename the columns",
        )
    return Rows((row_id, rename(row, renamed)) for row_id, row in chain([first], pairs))
