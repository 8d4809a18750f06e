"""Where a run works until it is finished: `<out>.partial`, renamed to `<out>` at the end.

So `<out>` either does not exist or is complete, and a killed run finds its own checkpoint again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penjing.core.artifact import MANIFEST, write_atomic
from penjing.core.errors import ArtifactError, PenjingError

IDENTITY = "run.json"


@dataclass(frozen=True)
class WorkDir:
    """The directories of one run.

    Args:
        out: where the artifact will be.
        partial: where it is being made.
        resumed: whether an interrupted run of the same identity was found.
    """

    out: Path
    partial: Path
    resumed: bool

    @property
    def stage(self) -> Path:
        """The future artifact."""
        return self.partial / "artifact"

    @property
    def training(self) -> Path:
        """Checkpoints and weights."""
        return self.partial / "training"

    @property
    def sealed_test(self) -> Path:
        """The test rows, beside the artifact."""
        return self.out.with_name(self.out.name + ".test.jsonl")

    def fresh_stage(self) -> Path:
        """An empty directory for the artifact; half-made ones of an interrupted run are dropped."""
        if self.stage.exists():
            shutil.rmtree(self.stage)
        self.stage.mkdir(parents=True)
        return self.stage

    def finish(self, overwrite: bool) -> None:
        """Put the finished artifact in its place."""
        if self.out.exists() and overwrite:
            shutil.rmtree(self.out)
        self.stage.replace(self.out)
        shutil.rmtree(self.partial)


def open_workdir(out: Path, identity: str, *, overwrite: bool) -> WorkDir:
    """Claim an output directory.

    Args:
        out: where the artifact shall be.
        identity: digest of recipe and data; an interrupted run is resumed only when it is equal.
        overwrite: discard what is there.

    Raises:
        ArtifactError: it holds a finished run, another interrupted run, or files of something else.
    """
    partial = out.with_name(out.name + ".partial")
    if out.exists() and not overwrite:
        holds = "a finished run" if (out / MANIFEST).is_file() else "files that are not a run of penjing"
        raise ArtifactError(
            f"already holds {holds}", where=str(out), next_step="give another --out, or --overwrite to replace it"
        )
    if out.exists() and not (out / MANIFEST).is_file():
        raise ArtifactError(
            "holds files that are not a run of penjing, which are never deleted",
            where=str(out),
            next_step="give another --out",
        )
    resumed = False
    if partial.exists():
        resumed = not overwrite and _identity(partial) == identity
        if not resumed and not overwrite:
            raise ArtifactError(
                "holds an interrupted run with other settings or data",
                where=str(partial),
                next_step="give another --out, the same recipe to resume it, or --overwrite to discard it",
            )
        if not resumed:
            shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    write_atomic(partial / IDENTITY, json.dumps({"identity": identity, "pid": os.getpid()}) + "\n")
    return WorkDir(out, partial, resumed)


def _identity(partial: Path) -> str | None:
    path = partial / IDENTITY
    if not path.is_file():
        return None
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["identity"])
    except (ValueError, KeyError):
        return None


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk, or one that cannot be written, into one line for the user."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PenjingError(
                "the disk is full", where=str(where), next_step="free some space and run the same command: it resumes"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise PenjingError(
                f"cannot be written ({os.strerror(error.errno)})", where=str(where), next_step="give another --out"
            ) from error
        raise
