"""Who made an artifact: an Ed25519 signature (RFC 8032) over its manifest, which holds the sha256 of every other file.

Keys are PEM files: the private one PKCS #8, for its owner alone, the public one beside it with `.pub` at its end.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.core.artifact import SIGNATURE, write_atomic
from penjing.core.errors import ArtifactError, MissingExtraError, RecipeError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_BYTES = 10_000  # of a key, or of a signature file
_CONTEXT = b"penjing manifest 1\n"  # what is signed here can be passed off as nothing else


def canonical_bytes(manifest: Mapping[str, Any]) -> bytes:
    """What is signed: the manifest with its keys in order and no blanks, in UTF-8."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return _CONTEXT + text.encode("utf-8")


def new_key(path: Path) -> Path:
    """Make a pair of keys and return where the public one is.

    Args:
        path: for the private key; nobody but its owner may read it.

    Raises:
        RecipeError: one of the two files is there already, or the directory is not.
        MissingExtraError: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(path.name + ".pub")
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
    for target in (path, public_path):
        if target.exists():
            raise RecipeError(
                "is there already, and keys are never replaced",
                where=str(target),
                next_step="give another path, or use this key: penjing sign ARTIFACT --key KEY",
            )
    if not path.parent.is_dir():
        raise RecipeError("no such directory", where=str(path.parent), next_step="make it")
    for target, data, mode in ((path, private, 0o600), (public_path, public, 0o644)):
        # With O_EXCL and its mode from the first moment: nobody reads the key, or slips in another file, meanwhile.
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
            handle.write(data)
    return public_path


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a file.

    Raises:
        RecipeError: missing, or no Ed25519 private key.
        MissingExtraError: cryptography is not installed.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = _parse_key(path, lambda data: load_pem_private_key(data, None), "private")
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(path, f"is a {type(key).__name__}", "private")
    return key


def read_public_key(path: Path) -> Ed25519PublicKey:
    """The public key of a file; raises as `read_private_key`."""
    _require_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = _parse_key(path, load_pem_public_key, "public")
    if not isinstance(key, Ed25519PublicKey):
        raise _unusable(path, f"is a {type(key).__name__}", "public")
    return key


def sign(directory: Path, manifest: Mapping[str, Any], key: Ed25519PrivateKey) -> Path:
    """Write the signature beside the manifest, in place of one that is there; return its path."""
    path = directory / SIGNATURE
    signature = base64.b64encode(key.sign(canonical_bytes(manifest))).decode()
    write_atomic(path, json.dumps({"algorithm": "Ed25519", "signature": signature}) + "\n")
    return path


def check_signature(directory: Path, manifest: Mapping[str, Any], key: Ed25519PublicKey) -> None:
    """Check that the holder of a key signed this very manifest.

    Raises:
        ArtifactError: no signature, a damaged one, one by another key, or the manifest was changed since.
    """
    from cryptography.exceptions import InvalidSignature

    path = directory / SIGNATURE
    if not path.is_file():
        raise ArtifactError(
            "the artifact is not signed", where=str(path), next_step="sign it: penjing sign ARTIFACT --key KEY"
        )
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["algorithm"] != "Ed25519":
            raise ValueError(f"algorithm {found['algorithm']!r}")
        signature = base64.b64decode(found["signature"], validate=True)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"not a signature ({error})", where=str(path), expected="what penjing sign wrote") from None
    try:
        key.verify(signature, canonical_bytes(manifest))
    except InvalidSignature:
        raise ArtifactError(
            "the signature is not by this key, or manifest.json was changed after it was signed",
            where=str(path),
            next_step="do not use the artifact before its maker has confirmed it",
        ) from None


def _parse_key(path: Path, parse: Callable[[bytes], object], what: str) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    if not path.is_file():
        raise _unusable(path, f"no such {what} key", what)
    try:
        return parse(path.read_bytes()[:MAX_BYTES])
    # What the library raises for other files, for encrypted keys, and for curves it does not know.
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(path, f"cannot be read ({' '.join(str(error).split())[:80]})", what) from None


def _unusable(path: Path, found: str, what: str) -> RecipeError:
    wanted = f"an unencrypted Ed25519 {what} key (PEM)"
    return RecipeError(
        found, where=str(path), expected=wanted, next_step="give such a file; penjing sign --new-key PATH makes a pair"
    )


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - only whether it is there
    except ImportError:
        raise MissingExtraError("cryptography", "sign") from None
