"""The rows that an artifact is scored or measured on: those the user gives, or its sealed test rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError, DataError, closest
from penjing.core.events import Listener, Notice
from penjing.core.task import Table, Task, input_columns
from penjing.pipeline.plan import recipe_of

if TYPE_CHECKING:
    from penjing.core.report import DataSummary
    from penjing.data.config import DataConfig

MADE_FROM_THESE = (
    "the model was made from these rows, so it has seen most of them: the figures will be too good; leave the data out "
    "to judge it on its sealed test rows, or give rows that came later"
)


def rows_to_score(
    artifact: Artifact,
    task: Task,
    settings: DataConfig,
    data: Path | str | None,
    test: Path | str | None,
    columns: Mapping[str, str],
    listener: Listener,
) -> tuple[Table, DataSummary]:
    """Rows with labels, and where they came from.

    Args:
        artifact: a verified artifact.
        task: the artifact's.
        settings: how its own rows were read.
        data: labelled rows of any source; None: the sealed test rows.
        test: the sealed test file, where it does not lie beside the artifact.
        columns: role → column in `data`, where its name is another.
        listener: told where the artifact was made from these rows.

    Raises:
        ArtifactError: no data are given, and the artifact has no test rows.
        DataError: the rows lack a column, or are not the sealed ones.
    """
    from penjing.core.report import DataSummary
    from penjing.evaluate.sealed_test import open_sealed_test, sealed_entry
    from penjing.pipeline.assemble import shown_roles
    from penjing.pipeline.labelled import labelled_rows

    warnings: list[str] = []
    if data is None:
        table = open_sealed_test(artifact, Path(test) if test is not None else None)
        name, digest = sealed_entry(artifact)
        fingerprint = str(artifact.manifest.get("data_fingerprint", ""))
    else:
        if made_from(artifact, settings, data):
            warnings.append(MADE_FROM_THESE)
            listener(Notice("evaluate", MADE_FROM_THESE, "warning"))
        table = labelled_rows(task, str(data), columns, settings, listener)
        name, digest, fingerprint = str(data), None, ""
    about = DataSummary(
        source=name,
        fingerprint=fingerprint,
        rows={"test": len(table)},
        roles=shown_roles(task.roles),
        num_labels=len(task.labels),
        test_sha256=digest,
        warnings=warnings,
    )
    return table, about


def rows_to_predict(
    artifact: Artifact, task: Task, settings: DataConfig, data: Path | str | None, listener: Listener
) -> Table:
    """Rows to measure or compare on: what they are labelled nobody asks.

    Args:
        artifact: a verified artifact.
        task: the artifact's.
        settings: how its own rows were read.
        data: rows of any source; None: the sealed test rows.
        listener: told of progress.

    Raises:
        ArtifactError: no data are given, and the artifact was made without test rows.
        DataError: a column that predicting reads is missing, there are no rows, or the test rows are gone.
    """
    from penjing.data.config import ColumnsConfig, DataConfig
    from penjing.data.sources import read_table
    from penjing.evaluate.sealed_test import open_sealed_test

    if data is None:
        try:
            return open_sealed_test(artifact, None)
        except (ArtifactError, DataError) as error:
            error.next_step = "give rows to predict: --data FILE"
            raise
    columns = ColumnsConfig(text=task.roles.text, text_pair=task.roles.text_pair, features=task.roles.features or None)
    read = DataConfig.of(str(data), settings).model_copy(update={"columns": columns})
    table = read_table(read, listener)
    there = {name: None for row in table.rows for name in row}
    for name in input_columns(task):
        if name not in there:
            near = closest(name, there)
            raise DataError(
                f"column {name!r} does not exist, and the model reads it",
                where=table.name,
                expected="one of " + ", ".join(map(repr, list(there)[:20])),
                next_step=f"rename {near!r} to it" if near else "give rows with the columns that it was made from",
            )
    return table


def made_from(artifact: Artifact, settings: DataConfig, data: Path | str) -> bool:
    """Whether an artifact was made from these rows, as far as their name tells."""
    from penjing.pipeline.labelled import same_rows

    return same_rows(settings.model_copy(update={"source": str(data)}), recipe_of(artifact).stage("data"))


def inputs_of(table: Table, task: Task) -> list[dict[str, Any]]:
    """The rows without what predicting does not read."""
    names = input_columns(task)
    return [{name: row.get(name) for name in names} for row in table.rows]
