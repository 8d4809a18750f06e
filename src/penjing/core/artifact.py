"""An artifact: an immutable, self-contained directory that can predict.

`manifest.json` is written last, so its presence proves completeness, and it carries the sha256 of every other file,
so damage and tampering are found when the artifact is opened. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from penjing.core.errors import ArtifactError
from penjing.core.packed import SUFFIX as PACKED

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MAX_MANIFEST_BYTES = 4_000_000
ALLOWED_SUFFIXES = {
    ".json", ".jsonl", ".yaml", ".txt", ".md", ".html", ".csv", ".sig",
    ".onnx", ".safetensors", ".xml", ".bin", ".lgb", PACKED,
}  # fmt: skip
_LIBRARIES = ("penjing", "numpy", "tokenizers", "onnxruntime", "openvino", "torch", "transformers", "lightgbm")


@dataclass(frozen=True)
class Artifact:
    """A verified artifact.

    Args:
        path: its directory.
        manifest: the parsed `manifest.json`.
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """The task kind."""
        return str(self.manifest["kind"])

    @property
    def digest(self) -> str:
        """sha256 of the manifest: names the artifact and all its files."""
        return file_sha256(self.path / MANIFEST)

    def stored(self, name: str) -> str:
        """The name under which a file is there: its own, or the longer one of a packed file."""
        files = self.manifest["files"]
        return name + PACKED if name not in files and name + PACKED in files else name

    def file(self, name: str) -> Path:
        """Path of a file the manifest lists; where it is listed packed only, of that.

        Raises:
            ArtifactError: the manifest does not list it.
        """
        name = self.stored(name)
        if name not in self.manifest["files"]:
            raise ArtifactError(
                f"has no file {name!r}",
                where=str(self.path),
                next_step="make it anew: penjing run, which tests and reports, as train does not",
            )
        return self.path / name


def seal(
    directory: Path,
    *,
    kind: str,
    capabilities: Mapping[str, Any],
    batch_invariant: bool,
    parent: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Artifact:
    """Hash every file of a finished directory and write its manifest, last and atomically.

    Args:
        directory: all other files are in place.
        kind: the task kind.
        capabilities: what this artifact can do, for those who read the manifest only.
        batch_invariant: whether a row's prediction never depends on its batch-mates.
        parent: digest of the artifact this one was made from.
        extra: further facts (hash of the sealed test file, data fingerprint, ...).

    Raises:
        ArtifactError: the directory has a manifest.
        ValueError: a fact is NaN or infinite, which JSON cannot say; a figure that does not exist is None.
    """
    if (directory / MANIFEST).exists():
        raise ArtifactError("is already sealed; artifacts are immutable", where=str(directory))
    names = sorted(p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file())
    manifest = {
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "parent": parent,
        "batch_invariant": batch_invariant,
        "capabilities": dict(capabilities),
        "libraries": library_versions(),
        **(extra or {}),
        "files": {
            name: {"sha256": file_sha256(directory / name), "bytes": (directory / name).stat().st_size}
            for name in names
        },
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(directory / MANIFEST, text + "\n")
    return Artifact(directory, json.loads(text))  # as whoever opens it reads it


def open_artifact(path: Path | str, public_key: Path | str | None = None) -> Artifact:
    """Open a directory and check every file against the manifest.

    Args:
        path: the artifact's directory.
        public_key: PEM file of the key whose holder has to have signed it; None: no matter who made it.

    Raises:
        ArtifactError: missing, incomplete, from a newer format, a file is damaged, or there is one that the manifest
            does not list; the message names the file. With a key: not signed by its holder.
        RecipeError: the key cannot be read.
    """
    directory = Path(path)
    manifest_path = directory / MANIFEST
    if not directory.is_dir():
        raise ArtifactError(
            "no such artifact",
            where=str(path),
            expected="the directory a run wrote",
            next_step="check the path, or make it with penjing run",
        )
    if not manifest_path.is_file():
        raise ArtifactError(
            "not a complete artifact: manifest.json is missing",
            where=str(path),
            next_step="run it again with the same recipe; an interrupted run resumes",
        )
    if manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ArtifactError(f"manifest.json is larger than {MAX_MANIFEST_BYTES} bytes", where=str(path))
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        # Python reads more than JSON and UTF-8 can say (NaN, half a surrogate pair), which nobody can sign.
        json.dumps(manifest, ensure_ascii=False, allow_nan=False).encode("utf-8")
        found = int(manifest["format_version"])
        files = {str(name): (entry["sha256"], entry["bytes"]) for name, entry in manifest["files"].items()}
        str(manifest["kind"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"manifest.json is damaged ({error!r})", where=str(path)) from None
    if found > FORMAT_VERSION:
        raise ArtifactError(
            f"format version {found} is newer than this release reads ({FORMAT_VERSION})",
            where=str(path),
            next_step="upgrade penjing",
        )
    if public_key is not None:
        from penjing.core.signing import check_signature, read_public_key

        check_signature(directory, manifest, read_public_key(Path(public_key)))
    _check_files(directory, files)
    _refuse_unlisted(directory, files)
    _require_parts(directory, manifest)
    return Artifact(directory, manifest)


def _check_files(directory: Path, files: Mapping[str, tuple[Any, Any]]) -> None:
    root = directory.resolve()
    for name, (digest, num_bytes) in files.items():
        path = directory / name
        if "\0" in name or not path.resolve().is_relative_to(root) or Path(name).suffix not in ALLOWED_SUFFIXES:
            raise ArtifactError(f"manifest names a file that no artifact may hold: {name!r}", where=str(directory))
        if not path.is_file():
            raise ArtifactError(f"file {name!r} is missing", where=str(directory), next_step="copy it again")
        if file_sha256(path) != digest or path.stat().st_size != num_bytes:
            raise ArtifactError(
                f"file {name!r} is damaged or was changed (sha256 or size differs from the manifest)",
                where=str(directory),
                next_step="restore the artifact from a good copy",
            )


def _refuse_unlisted(directory: Path, files: Mapping[str, Any]) -> None:
    """What lies among the files of an artifact is taken for a part of it: a page, say, that somebody else wrote.

    Raises:
        ArtifactError: a file that the manifest does not list; the message names it.
    """
    found = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    present = {path.relative_to(directory).as_posix() for path in found}
    unlisted = sorted(present - files.keys() - {MANIFEST, SIGNATURE})
    if unlisted:
        raise ArtifactError(
            f"file {unlisted[0]!r} is not one of the artifact's (the manifest does not list it)",
            where=str(directory),
            next_step="move it elsewhere; whoever made the artifact did not put it there",
        )


def _require_parts(directory: Path, manifest: Mapping[str, Any]) -> None:
    """What is read of a manifest without further ado has to be there.

    Raises:
        ArtifactError: a part is missing or malformed, or predicting needs a file that is not listed.
    """
    capabilities = manifest.get("capabilities")
    needed = capabilities.get("predict_files") if isinstance(capabilities, dict) else None
    if not isinstance(needed, list) or not all(isinstance(name, str) for name in needed):
        raise ArtifactError("manifest.json is damaged (no list capabilities.predict_files)", where=str(directory))
    unlisted = sorted(set(needed) - manifest["files"].keys())
    if unlisted:
        raise ArtifactError(f"manifest.json is damaged (no file {unlisted[0]!r} is listed)", where=str(directory))
    if not isinstance(manifest.get("training", {}), dict):
        raise ArtifactError("manifest.json is damaged ('training' is no object)", where=str(directory))


def size_bytes(artifact: Artifact, names: Iterable[str] | None = None) -> int:
    """Bytes of the files predicting needs (those in the manifest's `predict_files`), or of the given names."""
    chosen = names if names is not None else artifact.manifest["capabilities"]["predict_files"]
    return sum(int(artifact.manifest["files"][name]["bytes"]) for name in chosen)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that shape an artifact, where installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a kill at any moment leaves the old file or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    part.replace(path)
