"""Parquet and Excel, batch by batch."""

from __future__ import annotations

import base64
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from penjing.core.errors import DataError, MissingExtraError
from penjing.data.config import LimitsConfig
from penjing.data.delimited import too_long

_BATCH = 1_024
_MAX_UNPACKED = 2_000_000_000
_DAMAGE = (zipfile.BadZipFile, KeyError, ValueError, ParseError, zlib.error, EOFError)  # what reading a workbook raises
_MERGED = re.compile(rb'<(?:\w+:)?mergeCell [^>]*ref="[A-Z]+(\d+):[A-Z]+(\d+)"')
_MAX_SHARED = 400_000_000  # bytes of the texts that cells share, which are all held in memory
_MAX_SHEET_ROWS = 1_048_576  # Excel's own; a greater row number would have all the empty rows before it counted out


def read_parquet(path: Path, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number from 1, row).

    Raises:
        DataError: not a Parquet file, column names repeat, or a cell is too long.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError("pyarrow", "data") from None
    try:
        with pq.ParquetFile(path) as file:
            _check_names(file.schema_arrow.names, limits, str(path))
            number = 0
            for batch in file.iter_batches(_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield (
                        number,
                        check_row({k: plain_value(v) for k, v in row.items()}, f"{path}, row {number}", limits),
                    )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(
            f"cannot be read as Parquet ({_one_line(error)})", where=str(path), next_step="check that the file is whole"
        ) from None


def read_excel(path: Path, sheet: str | None, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (row number in the sheet, row); the first row with content names the columns.

    Raises:
        DataError: not an Excel file, no such sheet, column names repeat, or a cell is too long.
        MissingExtraError: openpyxl is not installed.
    """
    try:
        import openpyxl
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise MissingExtraError("openpyxl", "data") from None
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename.lower(): info.file_size for info in archive.infolist()}
            if sum(sizes.values()) > _MAX_UNPACKED:
                raise _too_large(f"unpacks to more than {_MAX_UNPACKED:,} bytes", path)
            if sizes.get("xl/sharedstrings.xml", 0) > _MAX_SHARED:
                raise _too_large(f"holds more than {_MAX_SHARED:,} bytes of text", path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (*_DAMAGE, InvalidFileException) as error:
        raise DataError(
            f"not an Excel workbook ({_one_line(error)})",
            where=str(path),
            expected=".xlsx",
            next_step="save it as .xlsx",
        ) from None
    try:
        if sheet is not None and sheet not in book.sheetnames:
            raise DataError(
                f"no sheet {sheet!r}",
                where=str(path),
                expected="one of " + ", ".join(book.sheetnames),
                next_step="name it: --set data.format.sheet=NAME",
            )
        page = book[sheet] if sheet is not None else book[book.sheetnames[0]]
        _refuse_merged(path, page._worksheet_path)
        yield from _sheet_rows(page.iter_rows(values_only=True), path, limits)
    except _DAMAGE as error:
        raise DataError(
            f"damaged Excel workbook ({_one_line(error)})", where=str(path), next_step="save it again"
        ) from None
    finally:
        book.close()


def _refuse_merged(path: Path, member: str) -> None:
    """Of cells merged over several rows all but the first read as empty, so rows would lose their label unnoticed."""
    tail = b""
    with zipfile.ZipFile(path) as archive, archive.open(member) as handle:
        while block := handle.read(1_000_000):
            for first, last in _MERGED.findall(tail + block):
                if int(first) > 1 and int(last) > int(first):
                    raise DataError(
                        f"cells of rows {int(first)} to {int(last)} are merged",
                        where=f"{path}:{int(first)}",
                        expected="a value in every row",
                        next_step="undo the merging and fill the value into each row",
                    )
            tail = block[-100:]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _too_large(message: str, path: Path) -> DataError:
    return DataError(message, where=str(path), next_step="save it as CSV, which is read in constant memory")


def _sheet_rows(
    cells: Iterator[tuple[Any, ...]], path: Path, limits: LimitsConfig
) -> Iterator[tuple[int, dict[str, Any]]]:
    names: list[str] | None = None
    for number, values in enumerate(cells, start=1):
        if number > _MAX_SHEET_ROWS:
            raise DataError(f"a row number above {_MAX_SHEET_ROWS:,}", where=str(path), next_step="save it again")
        if all(value is None or value == "" for value in values):
            continue
        if names is None:
            last = max(i for i, value in enumerate(values) if value not in {None, ""})
            names = [str(v).strip() if v not in {None, ""} else f"column_{i + 1}" for i, v in enumerate(values)]
            names = names[: last + 1]
            _check_names(names, limits, f"{path}:{number}")
            continue
        if any(value is not None for value in values[len(names) :]):
            raise DataError(
                f"the row has {len(values)} cells",
                where=f"{path}:{number}",
                expected=f"{len(names)}, as in the header",
                next_step="delete a title above the header, and give every column a name",
            )
        padded = [*values, *([None] * (len(names) - len(values)))]
        row = {name: plain_value(value) for name, value in zip(names, padded, strict=False)}
        yield number, check_row(row, f"{path}:{number}", limits)


def _check_names(names: list[str], limits: LimitsConfig, where: str) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(
            f"duplicate column names: {', '.join(map(repr, repeated))}",
            where=where,
            expected="a different name for each column",
            next_step="rename them",
        )
    if len(names) > limits.max_columns:
        raise DataError(f"{len(names):,} columns", where=where, expected=f"at most {limits.max_columns:,}")


def plain_value(value: Any) -> Any:
    """A value JSON knows: dates become ISO text, decimals numbers, NaN and empty text None, bytes base64."""
    if value is None or value == "":
        return None
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, (list, tuple)):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    return str(value)


def check_row(row: dict[str, Any], where: str, limits: LimitsConfig) -> dict[str, Any]:
    """The row, if no cell is too long or holds a null character."""
    for name, cell in row.items():
        if isinstance(cell, str):
            if len(cell) > limits.max_cell_chars:
                raise too_long(where, name, len(cell), limits)
            if "\0" in cell:
                raise DataError(f"null character in column {name!r}", where=where, next_step="remove it")
    return row
