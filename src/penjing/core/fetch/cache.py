"""Where fetched files are kept, and how two processes avoid building the same entry twice.

A finished entry is a directory that got its name by one atomic rename, so what is there is whole.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penjing.core.errors import FetchError
from penjing.core.events import Listener, Notice
from penjing.core.file_lock import try_lock

CONTENTS = "fetched.json"
LOCK_POLL_S = 0.2
LOCK_TIMEOUT_S = 3600.0
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def is_whole(entry: Path) -> bool:
    """Whether a cached directory is there and every file has the size it was written with."""
    try:
        sizes = json.loads((entry / CONTENTS).read_text(encoding="utf-8"))
        return all((entry / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):  # absent or damaged: either way it has to be made anew
        return False


@contextmanager
def new_entry(target: Path, listener: Listener) -> Iterator[Path | None]:
    """Build a cache entry under a lock: fill the directory given, and it becomes `target` when the block ends.

    Yields None where another process has finished the entry while this one waited for the lock. Where the block
    raises, nothing is left but an empty lock file.

    Args:
        target: the entry's directory.
        listener: told where this has to wait.

    Raises:
        FetchError: the cache cannot be written, or the disk is full.
    """
    part = target.with_name(target.name + ".part")
    with explained(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.with_name(target.name + ".lock"), listener):
            if is_whole(target):
                yield None
                return
            for stale in (target, part):  # damaged since it was made; left by a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            part.mkdir()
            try:
                yield part
                _write_contents(part)
                _sync(part)
                part.rename(target)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turn what the disk refuses into a `FetchError` of one line.

    Raises:
        FetchError: no space, no permission, or a path that is not a directory.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise FetchError(
                "the disk is full", where=str(place), next_step="free some space, or set PENJING_CACHE to another disk"
            ) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or error.errno == errno.EROFS:
            raise FetchError(
                f"the cache cannot be written ({error.strerror})",
                where=str(place),
                next_step="set PENJING_CACHE to a directory you can write to",
            ) from error
        raise


def require_space(place: Path, needed: int) -> None:
    """Refuse early what cannot fit.

    Args:
        place: an existing directory on the disk in question.
        needed: bytes.

    Raises:
        FetchError: less is free.
    """
    free = shutil.disk_usage(place).free
    if free < needed:
        raise FetchError(
            f"the disk has {free / 1e6:.0f} MB free where {needed / 1e6:.0f} MB are needed",
            where=str(place),
            next_step="free some space, or set PENJING_CACHE to another disk",
        )


@contextmanager
def _lock(path: Path, listener: Listener) -> Iterator[None]:
    """Hold an exclusive lock that the system releases when the process dies, however it dies."""
    with path.open("a+b") as handle:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        told = False
        while not try_lock(handle):
            if time.monotonic() > deadline:
                raise FetchError(
                    "another process has held the lock of this entry for an hour",
                    where=str(path),
                    next_step="end that process",
                )
            if not told:
                listener(Notice("fetch", f"another process is fetching {path.stem}; waiting for it"))
                told = True
            time.sleep(LOCK_POLL_S)
        yield  # closing the file releases the lock


def _write_contents(directory: Path) -> None:
    files = [path for path in directory.rglob("*") if path.is_file()]
    sizes = {path.relative_to(directory).as_posix(): path.stat().st_size for path in files}
    (directory / CONTENTS).write_text(json.dumps(sizes), encoding="utf-8")


def _sync(directory: Path) -> None:
    """Put the files on the disk before the rename that declares them whole."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb+") as handle:
                os.fsync(handle.fileno())
