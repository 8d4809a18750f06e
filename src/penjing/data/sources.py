"""Where rows come from: one name in, a stream of rows out, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError, closest
from penjing.core.events import Listener, Notice, Progress, ignore
from penjing.core.task import Table
from penjing.data.config import DataConfig
from penjing.data.conll import SUFFIXES, looks_tagged, read_conll
from penjing.data.database import is_database_url, read_database
from penjing.data.delimited import inspect_delimited, read_delimited
from penjing.data.encoding import detect_encoding
from penjing.data.folder import read_folder
from penjing.data.jsonfile import read_json_array, read_json_object, read_jsonl, sniff_json
from penjing.data.tags import with_spans

CHUNK = 1_024
_PARQUET = (".parquet", ".pq")
_EXCEL = (".xlsx", ".xlsm")
_JSON = (".json", ".jsonl", ".ndjson")
_PERHAPS_TAGGED = (".txt", ".tsv", "")
_OTHER_BINARY = {".xls": "save it as .xlsx", ".zip": "unpack it", ".7z": "unpack it", ".rar": "unpack it"}

Records = Iterator[tuple[Any, dict[str, Any]]]


@dataclass(frozen=True)
class Opened:
    """A source that was recognised and is ready to be read.

    Args:
        name: short name, the first part of row ids.
        description: format, encoding and delimiter, for the person who asks how it was read.
        records: (key inside the source, row), read lazily.
    """

    name: str
    description: str
    records: Records


def stream_rows(source: str, config: DataConfig, chunk: int = CHUNK, listener: Listener = ignore) -> Iterator[Table]:
    """Read a source in constant memory (JSON objects around the rows, and SQL drivers that buffer, excepted).

    Args:
        source: a file, a folder per class, an SQL URL, hub:ID, or a demo name.
        config: format, limits and query.
        chunk: rows a table.
        listener: told of downloads.

    Yields:
        Tables of at most `chunk` rows; row ids are "file:line" (or row number, where a format has no lines).

    Raises:
        DataError: the source is missing, empty or damaged; the message names file and row.
    """
    yield from _tables(open_source(source, config, listener), chunk)


def _tables(opened: Opened, chunk: int) -> Iterator[Table]:
    rows: list[dict[str, Any]] = []
    row_ids: list[str] = []
    for key, row in opened.records:
        rows.append(row)
        row_ids.append(f"{opened.name}:{key}")
        if len(rows) == chunk:
            yield Table(rows, row_ids, opened.name)
            rows, row_ids = [], []
    if rows:
        yield Table(rows, row_ids, opened.name)


def read_table(config: DataConfig, listener: Listener = ignore, source: str | None = None) -> Table:
    """Read a whole source (the config's own, unless another is named) into memory.

    Raises:
        DataError: as `stream_rows`; also no rows at all, or more than `limits.max_rows`.
    """
    wanted = source if source is not None else config.source
    if wanted is None:
        raise DataError("no data is named", where="data.source", expected="a file, a folder, a URL or a demo name")
    rows: list[dict[str, Any]] = []
    row_ids: list[str] = []
    opened = open_source(wanted, config, listener)
    name = opened.name
    listener(Notice("data", f"{name}: read as {opened.description}"))
    for table in _tables(opened, CHUNK):
        rows += table.rows
        row_ids += table.row_ids
        if len(rows) > config.limits.max_rows:
            raise DataError(
                f"more than {config.limits.max_rows:,} rows",
                where=name,
                expected="a table that fits into memory",
                next_step="give a sample of the rows, or raise data.limits.max_rows",
            )
        listener(Progress("data", len(rows), note=f"reading {name}"))
    if not rows:
        raise DataError("no rows", where=name, expected="at least one row of data", next_step="check the export")
    return Table(rows, row_ids, name)


def open_source(source: str, config: DataConfig, listener: Listener = ignore) -> Opened:
    """Recognise a source and say how it will be read; lists of tokens and their tags become a text and its spans.

    Raises:
        DataError: it does not exist, or its format is not read.
    """
    opened = _opened(source, config, listener)
    return replace(opened, records=with_spans(opened.records, opened.name, config.columns.text, listener))


def _opened(source: str, config: DataConfig, listener: Listener) -> Opened:
    if source.startswith("hub:"):
        from penjing.data.hub import read_hub

        identifier = source.removeprefix("hub:")
        return Opened(source, "hub data set", read_hub(identifier, config.limits))
    if source.lower().startswith(("http://", "https://", "ftp://", "s3://", "file://")):
        raise DataError("data is not downloaded from the web", where=source, next_step="download it and give the file")
    if is_database_url(source):
        return Opened("query", "SQL database", read_database(source, config.query, config.limits))
    path = Path(source).expanduser()
    if source.startswith("demo:") or not path.exists():
        return _open_demo(source, config, listener)
    if path.is_dir():
        rows = read_folder(path, config.format.encoding, config.limits)
        return Opened(path.name or "folder", "a folder per class", rows)
    return _open_file(path, config)


def _open_demo(source: str, config: DataConfig, listener: Listener) -> Opened:
    from penjing.data.catalog import demo_names, demo_rows

    name = source.removeprefix("demo:")
    if name in demo_names():
        return Opened(name, "demo data from the package index", demo_rows(name, config.limits, listener))
    if source.startswith("demo:"):
        near = closest(name, demo_names())
        raise DataError(
            f"no demo data set {name!r}",
            expected="one of " + ", ".join(demo_names()),
            next_step=f"did you mean {near!r}?" if near else None,
        )
    raise _missing(Path(source))


def _missing(path: Path) -> DataError:
    from penjing.data.catalog import demo_names

    siblings = [p.name for p in path.parent.iterdir()][:10_000] if path.parent.is_dir() else []
    # Names are compared without their ending: any two that end in .csv would look alike.
    named = {Path(name).stem: name for name in siblings}
    if str(path) == path.name and not path.suffix:  # a demo's name has no ending
        named |= {name: name for name in demo_names()}
    near = named.get(closest(path.stem, named, cutoff=0.65) or "")
    return DataError(
        "no such file",
        where=str(path),
        expected="a data file, a folder per class, an SQL URL, hub:ID or a demo name",
        next_step=f"did you mean {str(path.parent / near)!r}?" if near else "check the path",
    )


def _open_file(path: Path, config: DataConfig) -> Opened:
    form, limits = config.format, config.limits
    if not path.is_file():
        raise DataError("not a regular file", where=str(path), next_step="give the path of a data file")
    if path.stat().st_size == 0:
        raise DataError("the file is empty", where=str(path), expected="rows of data", next_step="check the export")
    suffix = path.suffix.lower()
    if form.kind == "parquet" or (form.kind == "auto" and suffix in _PARQUET):
        from penjing.data.columnar import read_parquet

        return Opened(path.name, "Parquet", read_parquet(path, limits))
    if form.kind == "excel" or (form.kind == "auto" and suffix in _EXCEL):
        from penjing.data.columnar import read_excel

        return Opened(path.name, "Excel", read_excel(path, form.sheet, limits))
    if form.kind == "auto" and suffix in _OTHER_BINARY:
        raise DataError(f"{suffix} files are not read", where=str(path), next_step=_OTHER_BINARY[suffix])
    return _open_text(path, config)


def _open_text(path: Path, config: DataConfig) -> Opened:
    form, limits = config.format, config.limits
    plain = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    described = form.kind != "auto" or form.delimiter is not None or form.header is not None
    if form.kind not in {"csv", "lines"}:
        encoding = form.encoding or detect_encoding(path)
        shape = sniff_json(path, encoding, limits)
        tagged = form.kind == "conll" or (form.kind == "auto" and plain in SUFFIXES)
        if not tagged and not described and shape is None and plain in _PERHAPS_TAGGED:
            tagged = looks_tagged(path, encoding, limits)
        if tagged:
            return Opened(path.name, f"tagged tokens (CoNLL), {encoding}", read_conll(path, encoding, limits))
        if (
            form.kind == "jsonl"
            or (shape == "object" and plain in _JSON[1:])
            or (shape is None and (plain in _JSON or form.kind == "json"))
        ):
            shape = "jsonl"
        if shape is not None and (form.kind != "auto" or plain in (*_JSON, ".txt", "")):
            reader = {"jsonl": read_jsonl, "array": read_json_array, "object": read_json_object}[shape]
            words = {"jsonl": "JSON Lines", "array": "a JSON array", "object": "a JSON object"}[shape]
            return Opened(path.name, f"{words}, {encoding}", reader(path, encoding, limits))
    layout = inspect_delimited(path, form, limits, config.columns.names)
    return Opened(path.name, layout.describe(), read_delimited(path, layout, limits))
