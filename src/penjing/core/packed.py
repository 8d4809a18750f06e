"""Files that take fewer bytes on the disk: packed with gzip, which every machine can unpack, and read into memory.

Nothing is lost by it. Whole numbers of 8 bits take about 6.5 of them, for few weights are as large as the largest.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from pathlib import Path

from penjing.core.errors import ArtifactError

SUFFIX = ".gz"
_LEVEL = 9


def is_packed(path: Path) -> bool:
    """Whether a file is of this kind, by its name."""
    return path.suffix == SUFFIX


def stored(path: Path) -> Path:
    """Where a file lies that may have been packed: under its own name, or packed under a longer one."""
    longer = path.with_name(path.name + SUFFIX)
    return longer if longer.is_file() and not path.is_file() else path


def pack(path: Path) -> Path:
    """Put a packed file in the place of another; the same bytes whenever and wherever that is done.

    Returns:
        Its path.
    """
    target = path.with_name(path.name + SUFFIX)
    with (
        path.open("rb") as source,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed,
    ):
        shutil.copyfileobj(source, packed, 1 << 20)
    path.unlink()
    return target


def unpack(path: Path, most_bytes: int) -> bytes:
    """What a packed file holds.

    Args:
        path: the file.
        most_bytes: that it may hold.

    Raises:
        ArtifactError: damaged, or it holds more.
    """
    try:
        size = _size(path)
        if size > most_bytes:
            raise ArtifactError(f"larger than {most_bytes:,} bytes", where=str(path))
        with gzip.open(path) as file:
            data = file.read(size + 1)  # one more than there is, so that its end and its checksum are looked at
        if len(data) != size:
            raise EOFError(f"{size:,} bytes were expected")
    except (OSError, EOFError, zlib.error) as error:
        raise ArtifactError(
            f"is damaged ({type(error).__name__}: {error})",
            where=str(path),
            next_step="restore the artifact from a good copy",
        ) from None
    return data


def _size(path: Path) -> int:
    """Bytes of what a packed file says that it holds, which are reserved before it is read."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        return int.from_bytes(file.read(), "little")
