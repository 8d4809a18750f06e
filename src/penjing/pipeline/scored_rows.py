"""The rows that an artifact is scored or measured on: those the user gives, or its sealed test rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.core.artifact import Artifact
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


def made_from(artifact: Artifact, settings: DataConfig, data: Path | str) -> bool:
    """Whether an artifact was made from these rows, as far as their name tells."""
    from penjing.pipeline.labelled import same_rows

    return same_rows(settings.model_copy(update={"source": str(data)}), recipe_of(artifact).stage("data"))


def inputs_of(table: Table, task: Task) -> list[dict[str, Any]]:
    """The rows without what predicting does not read."""
    names = input_columns(task)
    return [{name: row.get(name) for name in names} for row in table.rows]
