"""Records of predictions as CSV, JSONL or Parquet, one at a time, so that a file may be larger than memory."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from penjing.core.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_ROWS = 4096
# A spreadsheet runs a cell that begins with one of these (OWASP, "CSV Injection"; East Asian locales accept the
# full-width forms too).
_FORMULA_STARTS = tuple("=+-@\t\r＝＋－＠")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Writer(Protocol):
    """Writes records. `close` completes the file, `abandon` gives it up; both leave the handle open."""

    def write(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        """Append one input row (column → value) and its rendered prediction."""
        ...

    def close(self) -> None:
        """Write what is still held back."""
        ...

    def abandon(self) -> None:
        """Write nothing more, now or later."""
        ...


class JsonlWriter:
    """One JSON object a line: the row's columns and, under "prediction", what was predicted."""

    def __init__(self, handle: IO[str]) -> None:
        self.handle = handle

    def write(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        """See `Writer`."""
        key = _free_name("prediction", row)
        record = {**_plain(row), key: _plain(prediction)}
        self.handle.write(json.dumps(record, ensure_ascii=False, allow_nan=False, default=str) + "\n")

    def close(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is held back."""


class CsvWriter:
    """The row's columns, then one column for each part of the prediction; columns are those of the first record.

    Texts are quoted, and one that a spreadsheet would run as a formula gets an apostrophe in front.
    """

    def __init__(self, handle: IO[str]) -> None:
        self.writer = csv.writer(handle, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self.columns: Columns | None = None

    def write(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        """See `Writer`."""
        if self.columns is None:
            self.columns = Columns(row, prediction)
            self.writer.writerow([safe_cell(name) for name in self.columns.names])
        self.writer.writerow([safe_cell(_flat(value)) for value in self.columns.values(row, prediction)])

    def close(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is held back."""


class ParquetWriter:
    """The same columns as CSV, typed as the first few thousand records show.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle = handle
        self.arrow, self.parquet = _import_pyarrow()
        self.columns: Columns | None = None
        self.held: list[list[Any]] = []
        self.schema: pa.Schema | None = None
        self.writer: Any = None

    def write(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        """See `Writer`."""
        if self.columns is None:
            self.columns = Columns(row, prediction)
        self.held.append([_storable(value) for value in self.columns.values(row, prediction)])
        if len(self.held) == PARQUET_ROWS:
            self._flush()

    def close(self) -> None:
        """Write the last rows and the footer."""
        if self.columns is None:
            self.columns = Columns({}, {})
        if self.held or self.writer is None:
            self._flush()
        self.writer.close()

    def abandon(self) -> None:
        """Keep pyarrow from writing a footer when its writer is collected."""
        if self.writer is not None:
            self.writer.is_open = False

    def _flush(self) -> None:
        assert self.columns is not None
        arrow = self.arrow
        arrays = dict(zip(self.columns.names, zip(*self.held, strict=True), strict=True)) if self.held else {}
        try:
            table = arrow.table({name: list(values) for name, values in arrays.items()}, schema=self.schema)
        except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
            raise DataError(
                f"a column changes its type, which Parquet cannot hold: {error}", next_step="write JSONL instead"
            ) from None
        if self.schema is None:
            # A column that is empty so far is most likely a text.
            fields = [
                field.with_type(arrow.string()) if field.type == arrow.null() else field for field in table.schema
            ]
            self.schema = arrow.schema(fields)
            table = table.cast(self.schema)
            self.writer = self.parquet.ParquetWriter(self.handle, self.schema)
        self.writer.write_table(table)
        self.held = []


class Columns:
    """The columns of a flat file: those of the first row, and "predicted_..." for the parts of its prediction."""

    def __init__(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        self.of_row = list(row)
        self.known = set(row)
        self.parts = list(prediction)
        self.of_prediction = [_free_name(f"predicted_{part}", self.known) for part in self.parts]
        self.count = 0

    @property
    def names(self) -> list[str]:
        """All columns in order."""
        return [str(name) for name in self.of_row] + self.of_prediction

    def values(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> list[Any]:
        """Values in the order of `names`; None for a column this row lacks.

        Raises:
            DataError: the row has a column that the first one did not have.
        """
        if not row.keys() <= self.known:
            raise DataError(
                f"has columns {sorted(map(str, row.keys() - self.known))[:5]} that the first row does not have",
                where=f"row {self.count}",
                next_step="write JSONL instead, whose rows may differ",
            )
        self.count += 1
        return [row.get(name) for name in self.of_row] + [prediction.get(part) for part in self.parts]


def safe_cell(value: Any) -> Any:
    """A cell no spreadsheet runs: an apostrophe goes before text that looks like a formula and is no number."""
    if not isinstance(value, str):
        return value
    start = value.lstrip(" \ufeff")
    if start.startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(value):
        return "'" + value
    return value


def _flat(value: Any) -> Any:
    """A CSV cell: lists of plain values joined by "|", objects as JSON."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, list | tuple) and not any(isinstance(item, list | tuple | Mapping) for item in value):
        return "|".join(str(item) for item in value)
    if isinstance(value, list | tuple | Mapping):
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=str)
    return value


def _storable(value: Any) -> Any:
    """A Parquet value: objects as JSON (their keys differ from row to row), texts that are valid UTF-8."""
    if isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(v, list | Mapping) for v in value)):
        value = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=str)
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """The same without NaN and infinities, which JSON does not have."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _free_name(name: str, taken: Container[Any]) -> str:
    """The name, or with the first number that makes it differ from the row's own columns."""
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "data") from None
    return pyarrow, pyarrow.parquet


TEXT_FORMATS: Mapping[str, Callable[[IO[str]], Writer]] = {"csv": CsvWriter, "jsonl": JsonlWriter}
FORMATS = ("csv", "jsonl", "parquet")
SUFFIXES: Mapping[str, str] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}


def format_of(path: Path, given: str | None) -> str:
    """The output format: as given, else by the file's name.

    Raises:
        DataError: neither says.
    """
    found = given or SUFFIXES.get(path.suffix.lower())
    if found not in FORMATS:
        raise DataError(
            f"unknown output format {given or path.suffix!r}",
            where=str(path),
            expected="a file named .csv, .jsonl or .parquet",
        )
    return found
