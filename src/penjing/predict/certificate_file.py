"""Where certificates are kept, and what is accepted as one.

An artifact may carry one, as a file like any other; those made later, on other machines, lie in the user's cache under
the artifact's digest, for an artifact is immutable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from penjing.core.artifact import Artifact, write_atomic
from penjing.core.cache_dir import cache_dir
from penjing.core.cpu import Cpu
from penjing.core.errors import ArtifactError, PenjingError
from penjing.predict.certificate import GOALS, Certificate, Trial
from penjing.predict.setup import Setup
from penjing.predict.task_file import CERTIFICATE_FILE, MODEL_FILE

FORMAT_VERSION = 1
MAX_CERTIFICATE_BYTES = 1_000_000
_MAX_TEXT = 500
_MAX_ENTRIES = 1000
_MAX_NUMBER = 1e12


def certificates_of(artifact: Artifact, *, cached: bool = True) -> list[Certificate]:
    """What is certified of an artifact: in the user's cache, which is of this machine mostly, then in the artifact.

    Args:
        artifact: a verified artifact.
        cached: whether to look into the cache.

    Raises:
        ArtifactError: one of them is damaged, or of another model.
    """
    found = []
    if cached and cache_path(artifact).is_file():
        found.append(_of_model(artifact, cache_path(artifact), "delete it, and measure again"))
    if CERTIFICATE_FILE in artifact.manifest["files"]:
        found.append(_of_model(artifact, artifact.file(CERTIFICATE_FILE), "restore the artifact from a good copy"))
    return found


def _of_model(artifact: Artifact, path: Path, next_step: str) -> Certificate:
    certificate = read_certificate(path, next_step)
    if certificate.model_sha256 != artifact.manifest["files"][artifact.stored(MODEL_FILE)]["sha256"]:
        raise ArtifactError("the certificate is of another model", where=str(path), next_step=next_step)
    return certificate


def cache_path(artifact: Artifact) -> Path:
    """Where a certificate of a finished artifact is kept on this machine; it may not be there."""
    return cache_dir() / "certificates" / f"{artifact.digest}.json"


def keep_certificate(certificate: Certificate, artifact: Artifact) -> Path:
    """Keep a certificate of a finished artifact on this machine.

    Returns:
        Where it is.
    """
    path = cache_path(artifact)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(certificate, path)
    return path


def write_certificate(certificate: Certificate, directory: Path) -> None:
    """Write `certificate.json` into an artifact that is being made."""
    _write(certificate, directory / CERTIFICATE_FILE)


def _write(certificate: Certificate, path: Path) -> None:
    values = {"format_version": FORMAT_VERSION, **certificate.to_json()}
    write_atomic(path, json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_certificate(path: Path, next_step: str | None = None) -> Certificate:
    """Read a certificate.

    Args:
        path: the file.
        next_step: what to do about a damaged one.

    Raises:
        ArtifactError: too large, from a newer release, or no certificate.
    """
    if path.stat().st_size > MAX_CERTIFICATE_BYTES:
        raise ArtifactError(f"larger than {MAX_CERTIFICATE_BYTES:,} bytes", where=str(path), next_step=next_step)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = _whole(values.pop("format_version"))
        if found == FORMAT_VERSION:
            return _certificate(values)
    except PenjingError as error:  # a setup says itself what is wrong with it
        raise ArtifactError(f"is damaged ({error.finding})", where=str(path), next_step=next_step) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(
            f"is damaged ({type(error).__name__}: {error})", where=str(path), next_step=next_step
        ) from None
    raise ArtifactError(
        f"format version {found} is newer than this release reads ({FORMAT_VERSION})",
        where=str(path),
        next_step="upgrade penjing",
    )


def _certificate(values: Any) -> Certificate:
    return Certificate(
        **_object(
            values,
            model_sha256=_text,
            cpu=lambda value: Cpu(**_object(value, name=_text, family=_text, flags=_entries(_text))),
            threads=_whole,
            libraries=_libraries,
            goal=_goal,
            concurrency=_whole,
            num_inputs=_whole,
            tolerance=_number,
            chosen=Setup.from_json,
            trials=_entries(_trial),
            created=_time,
        )
    )


def _trial(values: Any) -> Trial:
    numbers = dict.fromkeys(("p50_ms", "rows_per_s", "difference"), _number)
    return Trial(**_object(values, setup=Setup.from_json, **numbers, num_flipped=_whole, accepted=_flag))


def _object(values: Any, **fields: Callable[[Any], Any]) -> dict[str, Any]:
    """The fields of an object, each read by its own function; no other, and none missing."""
    if not isinstance(values, dict) or values.keys() != fields.keys():
        raise ValueError("expected an object with " + ", ".join(fields))
    return {name: read(values[name]) for name, read in fields.items()}


def _entries(read: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read_all(values: Any) -> tuple[Any, ...]:
        if not isinstance(values, list) or len(values) > _MAX_ENTRIES:
            raise ValueError(f"expected a list of at most {_MAX_ENTRIES} entries")
        return tuple(read(value) for value in values)

    return read_all


def _libraries(values: Any) -> Mapping[str, str]:
    if not isinstance(values, dict) or len(values) > _MAX_ENTRIES:
        raise ValueError("expected the versions of libraries")
    return {_text(name): _text(version) for name, version in values.items()}


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise ValueError(f"expected a text of at most {_MAX_TEXT} characters")
    return value


def _goal(value: Any) -> str:
    if value not in GOALS:
        raise ValueError(f"expected one of {', '.join(GOALS)}")
    return str(value)


def _time(value: Any) -> str:
    return datetime.fromisoformat(_text(value)).isoformat(timespec="seconds")


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError("expected a number that is not negative")
    return float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise ValueError("expected a whole number that is not negative")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value
