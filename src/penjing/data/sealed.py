"""The sealed test file: JSON Lines, named by its sha256 in the artifact's manifest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from penjing.core.errors import DataError
from penjing.core.task import Table
from penjing.data.textkey import canonical_json

_MAX_LINE_BYTES = 400_000_000


def write_sealed(table: Table, path: Path) -> str:
    """Write test rows with their ids, atomically; return the sha256 of the file."""
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as handle:
            for row_id, row in zip(table.row_ids, table.rows, strict=True):
                line = canonical_json({"row_id": row_id, "row": row}) + b"\n"
                digest.update(line)
                handle.write(line)
            handle.flush()
            os.fsync(handle.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


def is_sealed(path: Path) -> bool:
    """Whether a file begins as one that `write_sealed` wrote."""
    if not path.is_file():
        return False
    with path.open("rb") as handle:
        line = handle.readline(_MAX_LINE_BYTES)
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and entry.keys() == {"row", "row_id"} and line == canonical_json(entry) + b"\n"


def read_sealed(path: Path, expected_sha256: str) -> Table:
    """Read a sealed test file.

    Raises:
        DataError: it is missing, or not the file whose hash is expected.
    """
    if not path.is_file():
        raise DataError("no such sealed test file", where=str(path), next_step="give the test file of the run")
    digest = hashlib.sha256()
    rows, row_ids = [], []
    with path.open("rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
        if found != expected_sha256:
            raise DataError(
                f"not the sealed test file of this artifact (sha256 {found[:12]}...)",
                where=str(path),
                expected=f"sha256 {expected_sha256[:12]}...",
                next_step="give the unchanged file the run wrote",
            )
        handle.seek(0)
        while line := handle.readline(_MAX_LINE_BYTES):
            digest.update(line)
            entry = json.loads(line)
            rows.append(entry["row"])
            row_ids.append(str(entry["row_id"]))
    if digest.hexdigest() != expected_sha256:
        raise DataError("the file changed while it was read", where=str(path), next_step="read it again")
    return Table(rows, row_ids, path.name)
