"""Predictions into a file that is either complete or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any

from penjing.core.errors import CapabilityError, DataError
from penjing.core.events import Listener, Progress, ignore
from penjing.core.task import Prediction, Task
from penjing.predict.output_formats import TEXT_FORMATS, ParquetWriter, Writer, format_of

PROGRESS_ROWS = 256


def write_predictions(
    pairs: Iterable[tuple[Any, Prediction]],
    target: Path,
    task: Task,
    *,
    format: str | None = None,
    overwrite: bool = False,
    listener: Listener = ignore,
) -> int:
    """Write inputs and predictions to a file as they come; it appears under its name when it is complete.

    Args:
        pairs: what `Predictor.stream` yields.
        target: the file; its name ends in .csv, .jsonl or .parquet, unless `format` says which.
        task: renders predictions, and names the columns of inputs that are bare texts.
        format: csv, jsonl or parquet.
        overwrite: replace a file that is there.
        listener: told how many rows are written.

    Returns:
        Number of rows.

    Raises:
        DataError: unknown format, the file exists, or rows that do not fit the format.
        CapabilityError: the file cannot be written (no space, no permission).
        MissingExtraError: Parquet without pyarrow.
    """
    kind = format_of(target, format)
    if target.exists() and not overwrite:
        raise DataError(
            "exists already", where=str(target), next_step="choose another name, or replace it: --overwrite"
        )
    part = target.with_name(f"{target.name[:40]}.{secrets.token_hex(8)}.part")
    with _plainly(target):
        handle = _open(part, kind)
    try:
        writer: Writer = ParquetWriter(handle) if kind == "parquet" else TEXT_FORMATS[kind](handle)
        try:
            count = _write_all(pairs, writer, task, lambda: _plainly(target), listener)
            with _plainly(target):
                writer.close()
                handle.flush()
                os.fsync(handle.fileno())
                handle.close()
                part.replace(target)
        finally:
            writer.abandon()
    finally:
        # Where closing fails here, the write before it failed for the same reason, and its error is on the way.
        with suppress(OSError):
            handle.close()
        part.unlink(missing_ok=True)
    return count


def print_predictions(
    pairs: Iterable[tuple[Any, Prediction]], handle: IO[str], task: Task, *, format: str = "jsonl"
) -> int:
    """Write inputs and predictions to an open text stream, as csv or jsonl; return the number of rows."""
    if format not in TEXT_FORMATS:
        raise DataError(f"format {format!r} cannot go to a stream", expected="csv or jsonl")
    writer = TEXT_FORMATS[format](handle)
    count = _write_all(pairs, writer, task, nullcontext, ignore)
    writer.close()
    return count


def _write_all(
    pairs: Iterable[tuple[Any, Prediction]],
    writer: Writer,
    task: Task,
    writing: Callable[[], AbstractContextManager[None]],
    listener: Listener,
) -> int:
    count = 0
    for value, prediction in pairs:
        with writing():
            writer.write(_columns_of(value, task), task.render(prediction))
        count += 1
        if count % PROGRESS_ROWS == 0:
            listener(Progress("predict", count))
    listener(Progress("predict", count, count))
    return count


def _columns_of(value: Any, task: Task) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    names = [name for name in (task.roles.text, task.roles.text_pair) if name is not None]
    return dict(zip(names, [value] if isinstance(value, str) else value, strict=True))


def _open(part: Path, kind: str) -> IO[Any]:
    if kind == "parquet":
        return part.open("xb")
    # Excel takes a CSV without the mark for the local encoding and garbles Chinese. Half surrogates, which JSON input
    # can smuggle in, are written as their escapes: valid in JSON, readable in CSV.
    encoding = "utf-8-sig" if kind == "csv" else "utf-8"
    return part.open("x", encoding=encoding, errors="backslashreplace", newline="")


@contextmanager
def _plainly(target: Path) -> Iterator[None]:
    """Say in one line that a file cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise CapabilityError(
            f"cannot be written: {error.strerror or error}",
            where=str(target),
            next_step="check that its folder is there, may be written and has room, or give another path",
        ) from error
