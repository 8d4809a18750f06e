"""A lock on an open file, held until the file is closed or the process dies, however it dies."""

from __future__ import annotations

import os
from typing import IO


def try_lock(handle: IO[bytes]) -> bool:
    """Whether this process has the file to itself from now on; False where another one holds it."""
    try:
        if os.name == "nt":
            import msvcrt

            handle.seek(0)
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        else:
            import fcntl

            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # what each system says of a lock that is taken
        return False
    return True
