"""The sealed test file: the rows behind every figure of a report, kept beside the artifact.

JSON lines, one `{"id": ..., "row": {...}}` a line. The artifact's manifest names the file and its sha256, so nobody
can verify (or compare) on other rows by mistake. It is not inside the artifact, because whoever runs a model in
production has no business with the company's labelled data.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penjing.core.artifact import Artifact, file_sha256
from penjing.core.errors import ArtifactError, DataError
from penjing.core.task import Table

MAX_TEST_BYTES = 2_000_000_000
MAX_LINE_BYTES = 50_000_000


def write_test(table: Table, path: Path) -> dict[str, Any]:
    """Write the test rows, atomically.

    Returns:
        The manifest's `test` entry: file name, sha256 and number of rows.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="\n") as handle:
        for row_id, row in zip(table.row_ids, table.rows, strict=True):
            handle.write(json.dumps({"id": row_id, "row": row}, ensure_ascii=False) + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)
    return {"file": path.name, "sha256": file_sha256(path), "rows": len(table)}


def open_sealed_test(artifact: Artifact, path: Path | None = None) -> Table:
    """The test rows an artifact was reported on.

    Args:
        artifact: its manifest carries the `test` entry.
        path: where the file lies; by default beside the artifact's directory.

    Raises:
        ArtifactError: the manifest names no test file.
        DataError: the file is missing, not the sealed one, or damaged.
    """
    entry = sealed_entry(artifact)
    found = path or artifact.path.resolve().parent / entry["file"]
    if not found.is_file():
        raise DataError(
            "the sealed test file is missing",
            where=str(found),
            expected=f"the file with sha256 {entry['sha256'][:12]}…",
            next_step="put it beside the artifact's directory, or give its path",
        )
    if found.stat().st_size > MAX_TEST_BYTES:
        raise DataError(f"larger than {MAX_TEST_BYTES} bytes", where=str(found))
    digest = file_sha256(found)
    if digest != entry["sha256"]:
        raise DataError(
            f"not the rows this artifact was reported on: sha256 {digest[:12]}…",
            where=str(found),
            expected=f"sha256 {entry['sha256'][:12]}…",
            next_step="give the test file that was written with the artifact",
        )
    return read_test(found)


def sealed_entry(artifact: Artifact) -> dict[str, str]:
    """File name and sha256 of the sealed test file.

    Raises:
        ArtifactError: there is no such entry, or it names a path instead of a file name.
    """
    entry = artifact.manifest.get("test")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("sha256"), str):
        raise ArtifactError(
            "was made without a test split, so there is nothing to verify against",
            where=str(artifact.path),
            next_step="train again with a test split",
        )
    name = str(entry.get("file", ""))
    if not name or Path(name).name != name:
        raise ArtifactError(f"manifest names a test file outside its place: {name!r}", where=str(artifact.path))
    return {"file": name, "sha256": str(entry["sha256"])}


def read_test(path: Path) -> Table:
    """Read a test file.

    Raises:
        DataError: a line is too long or is not a row; the message names the line.
    """
    rows: list[dict[str, Any]] = []
    ids: list[str] = []
    with path.open("rb") as handle:
        for number, line in enumerate(iter(lambda: handle.readline(MAX_LINE_BYTES + 1), b""), 1):
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"a line of more than {MAX_LINE_BYTES} bytes", where=f"{path}:{number}")
            try:
                values = json.loads(line)
                row, row_id = values["row"], values["id"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"not a test row ({error!r})", where=f"{path}:{number}") from None
            if not isinstance(row, dict):
                raise DataError(f"a row is an object, not {type(row).__name__}", where=f"{path}:{number}")
            rows.append(row)
            ids.append(str(row_id))
    return Table(rows, ids, path.name)
