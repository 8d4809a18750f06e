"""Finds the sealed test file of an artifact: the rows behind every figure of its report.

The manifest's `test` entry names the file, its sha256 and its rows. The file lies beside the artifact's directory, not
in it: whoever runs a model in production has no business with the company's labelled data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.core.artifact import Artifact
from penjing.core.errors import ArtifactError, DataError
from penjing.core.task import Table
from penjing.data.sealed import read_sealed, write_sealed


def write_test(table: Table, directory: Path) -> dict[str, Any]:
    """Write the test rows beside an artifact's directory, as `<name>.test.jsonl`.

    Args:
        table: the sealed test rows.
        directory: of the artifact, which need not exist yet.

    Returns:
        The manifest's `test` entry: pass it to `core.artifact.seal` as `extra={"test": ...}`.
    """
    path = directory.resolve()
    path = path.parent / f"{path.name}.test.jsonl"
    return {"file": path.name, "sha256": write_sealed(table, path), "rows": len(table)}


def open_sealed_test(artifact: Artifact, path: Path | str | None = None) -> Table:
    """The test rows an artifact was reported on.

    Args:
        artifact: its manifest carries the `test` entry.
        path: where the file lies; by default beside the artifact's directory.

    Raises:
        ArtifactError: the manifest names no test file.
        DataError: the file is missing, or not the sealed one.
    """
    name, digest = sealed_entry(artifact)
    found = Path(path) if path is not None else artifact.path.resolve().parent / name
    if not found.is_file():
        raise DataError(
            "the sealed test file is missing",
            where=str(found),
            expected=f"the file with sha256 {digest[:12]}...",
            next_step="put it beside the artifact's directory, or give its path: --test FILE",
        )
    return read_sealed(found, digest)


def sealed_entry(artifact: Artifact) -> tuple[str, str]:
    """(file name, sha256) of the sealed test file.

    Raises:
        ArtifactError: there is no such entry, or it names a path instead of a file name.
    """
    entry = artifact.manifest.get("test")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("sha256"), str):
        raise ArtifactError(
            "was made without test rows, so there is nothing to verify against",
            where=str(artifact.path),
            next_step="train again with a test split",
        )
    name = str(entry.get("file", ""))
    if not name or Path(name).name != name:
        raise ArtifactError(f"manifest names a test file outside its place: {name!r}", where=str(artifact.path))
    return name, str(entry["sha256"])
