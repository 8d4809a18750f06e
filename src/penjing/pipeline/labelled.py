"""Labelled rows that the user gives later, read as a model's own rows were."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penjing.core.errors import DataError, closest
from penjing.core.events import Listener, ignore
from penjing.core.task import Table, Task

if TYPE_CHECKING:
    from penjing.data.config import DataConfig
    from penjing.data.labels import LabelKind


def same_rows(given: DataConfig, made_from: DataConfig) -> bool:
    """Whether both name the same rows of one file, folder, database or demo; a copy elsewhere is not recognised."""
    if (given.query, given.format.sheet) != (made_from.query, made_from.format.sheet):
        return False
    sources = [os.path.expanduser(str(config.source).removeprefix("demo:")) for config in (given, made_from)]
    there = [os.path.exists(source) for source in sources]
    return os.path.samefile(*sources) if all(there) else sources[0] == sources[1] and not any(there)


def labelled_rows(
    task: Task, source: str, columns: Mapping[str, str], settings: DataConfig, listener: Listener = ignore
) -> Table:
    """Rows of any source, read as the task's own rows were.

    Args:
        task: what they are for.
        source: a file, folder, SQL URL, hub:ID or demo name.
        columns: role → column in the source, where it differs from the artifact's.
        settings: how the task's own rows were read (format, query, limits, label separator); its source is replaced.
        listener: told of progress.

    Raises:
        DataError: a column is missing, or no row has both input and label.
    """
    from penjing.data.config import ColumnsConfig, DataConfig
    from penjing.data.conform import conform
    from penjing.data.infer import infer
    from penjing.data.labels import LabelShape
    from penjing.data.sources import read_table

    roles = task.roles
    named = {role: getattr(roles, role) for role in ("text", "text_pair", "label", "spans")}
    read_as = ColumnsConfig(**{**named, **columns}, features=roles.features or None)
    table = read_table(DataConfig.of(source, settings).model_copy(update={"columns": read_as}), listener)
    _require_columns(table, {**named, **columns})
    renamed = {given: str(getattr(roles, role)) for role, given in columns.items() if getattr(roles, role)}
    table = Table([rename(row, renamed) for row in table.rows], table.row_ids, table.name)
    update = {**named, "features": roles.features or None}
    how = {name: getattr(settings.columns, name) for name in ("label_separator", "empty_is_none")}
    inference = infer(table, ColumnsConfig(**update, **how), task.kind)
    kind = _label_kind(task)
    if inference.label is not None and inference.label.kind != kind:  # few rows may look otherwise
        inference = replace(inference, label=LabelShape(kind))
    found = conform(table, inference).table
    if not len(found):
        raise DataError("no row has both an input and a label", where=table.name, next_step="fill the label column")
    return found


def _require_columns(table: Table, named: Mapping[str, str | None]) -> None:
    """Refuse before columns are renamed: after that, a message would name one that the source never had.

    Raises:
        DataError: a column is missing.
    """
    there = {name: None for row in table.rows for name in row}
    for role, name in named.items():
        if name is not None and name not in there:
            near = closest(name, there)
            otherwise = f"say which column holds it: --{role} COLUMN" if role in {"text", "label"} else None
            raise DataError(
                f"column {name!r} ({role}) does not exist",
                where=table.name,
                expected="one of " + ", ".join(map(repr, list(there)[:20])),
                next_step=f"did you mean {near!r}?" if near else otherwise,
            )


def rows_for_both(
    a: tuple[str, Task, DataConfig],
    b: tuple[str, Task, DataConfig],
    source: str,
    columns: Mapping[str, str],
    listener: Listener = ignore,
) -> tuple[Table, Table]:
    """The same labelled rows for two models, each under its own names of the columns.

    Args:
        a: (its name, its task, how its own rows were read).
        b: the same of the other.
        source: a file, folder, SQL URL, hub:ID or demo name.
        columns: role → column in the source, where it differs from the artifacts'.
        listener: told of progress.

    Returns:
        Two tables of equally many rows, or one table twice where both models read alike.

    Raises:
        DataError: a column that one of them needs is missing, or the two would be asked or judged by different rows.
    """
    if _how(*a[1:]) == _how(*b[1:]):
        table = labelled_rows(a[1], source, columns, a[2], listener)
        return table, table
    tables = []
    for name, task, settings in (a, b):
        try:
            tables.append(labelled_rows(task, source, columns, settings, listener))
        except DataError as error:
            raise DataError(
                f"{error.what} (as {name} reads it)",
                where=error.where,
                expected=error.expected,
                next_step=error.next_step,
            ) from None
    of_a, of_b = tables
    only = sorted({*of_a.row_ids} ^ {*of_b.row_ids})
    if only:
        raise DataError(
            f"{len(only)} rows can be used by one of the two models only",
            where=only[0],
            expected="every row to have what both need",
            next_step="complete these rows, or leave them out",
        )
    target_a, target_b = (task.roles.spans or task.roles.label for _, task, _ in (a, b))
    for row_id, row_a, row_b in zip(of_a.row_ids, of_a.rows, of_b.rows, strict=True):
        if row_a.get(str(target_a)) != row_b.get(str(target_b)):
            raise DataError(
                f"{a[0]} would be judged by {target_a!r}, {b[0]} by {target_b!r}, and the two differ",
                where=row_id,
                expected="one answer to a row",
                next_step="say which column holds it: --label COLUMN",
            )
    return of_a, of_b


def _how(task: Task, settings: DataConfig) -> tuple[Any, ...]:
    """All that `labelled_rows` makes of a task and of how its rows were read."""
    roles = task.roles
    read = settings.format, settings.query, settings.limits
    labels = settings.columns.label_separator, settings.columns.empty_is_none
    return (
        task.kind,
        _label_kind(task),
        roles.text,
        roles.text_pair,
        roles.label,
        roles.spans,
        roles.features,
        read,
        labels,
    )


def _label_kind(task: Task) -> LabelKind:
    """One label of several, any number of them, or a number."""
    if not task.labels:
        return "numbers"
    return "sets" if task.calibration == "sigmoid" else "classes"


def rename(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with some columns under another name, which wins over a column that had it."""
    if not columns:
        return row
    kept = {name: value for name, value in row.items() if name not in columns and name not in columns.values()}
    return {**{new: row[old] for old, new in columns.items() if old in row}, **kept}
