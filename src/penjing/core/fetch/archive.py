"""Named members out of wheels and sdists: nothing else is read, and nothing is executed."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from penjing.core.errors import FetchError

PIECE_BYTES = 1 << 20
MAX_ARCHIVE_MEMBERS = 100_000
# Target name → sha256 expected (None: that of the whole archive suffices), by member.
Members = Mapping[str, tuple[str, str | None]]


def unpack_members(archive: Path, filename: str, members: Members, directory: Path, *, max_bytes: int) -> None:
    """Write some members of an archive into a directory, under the names given.

    Args:
        archive: the file.
        filename: its published name (.whl, .zip or .tar.gz), which tells the format.
        members: member path → (file name in `directory`, its sha256 or None).
        directory: an existing directory.
        max_bytes: bound on all bytes written, and on all bytes a tar file may unpack to.

    Raises:
        FetchError: the archive is damaged, lacks a member, or a member is too large or has another sha256.
    """
    for name, _ in members.values():
        path = PurePosixPath(name)
        assert not path.is_absolute() and ".." not in path.parts and "\\" not in name, f"unsafe target {name!r}"
    try:
        if filename.endswith((".whl", ".zip")):
            _unpack_zip(archive, filename, members, directory, max_bytes)
        elif filename.endswith((".tar.gz", ".tgz")):
            _unpack_tar(archive, filename, members, directory, max_bytes)
        else:
            raise FetchError("not an archive this release can unpack", where=filename, expected=".whl or .tar.gz")
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FetchError(f"the archive is damaged ({error})", where=filename) from None


def _unpack_zip(archive: Path, filename: str, members: Members, directory: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as opened:
        known = {info.filename: info for info in opened.infolist()}
        _require(members, set(known), filename)
        left = max_bytes
        for member, (name, sha256) in members.items():
            with opened.open(known[member]) as source:
                left -= _write(source, directory / name, sha256, left, f"{filename}:{member}")


def _unpack_tar(archive: Path, filename: str, members: Members, directory: Path, max_bytes: int) -> None:
    # A stream: one pass, nothing seeks, and what lies between is skipped. Links and devices are never followed.
    found: set[str] = set()
    left = max_bytes
    with tarfile.open(archive, mode="r|gz") as opened:
        for count, info in enumerate(opened):
            left -= info.size
            if count > MAX_ARCHIVE_MEMBERS or left < 0:
                raise FetchError(f"unpacks to more than {max_bytes} bytes", where=filename)
            if info.name not in members or not info.isreg():
                continue
            source = opened.extractfile(info)
            assert source is not None, "regular files have contents"
            name, sha256 = members[info.name]
            _write(source, directory / name, sha256, info.size, f"{filename}:{info.name}")
            found.add(info.name)
            if len(found) == len(members):
                break
    _require(members, found, filename)


def _require(members: Members, found: set[str], filename: str) -> None:
    missing = [member for member in members if member not in found]
    if missing:
        raise FetchError(f"the archive holds no {', '.join(missing)}", where=filename)


def _write(source: IO[bytes], path: Path, sha256: str | None, max_bytes: int, where: str) -> int:
    """Copy in pieces; what a header says of sizes is not believed."""
    digest = hashlib.sha256()
    written = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        while piece := source.read(PIECE_BYTES):
            written += len(piece)
            if written > max_bytes:
                raise FetchError(f"larger than the {max_bytes} bytes allowed", where=where)
            digest.update(piece)
            target.write(piece)
    if sha256 is not None and digest.hexdigest() != sha256:
        raise FetchError(f"sha256 is {digest.hexdigest()}", where=where, expected=sha256)
    return written
