"""When two texts are the same: after folding width, case, spaces and punctuation; signs (+, %, emoji) count."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from penjing.core.task import Roles, Table

_NOT_WORD = re.compile(r"[\W_]+")
_MEANT = frozenset("+%#")
_MEANT_CATEGORIES = {"Sc", "So"}  # currencies; emoji and the like
_MINUS = ("-", "\u2212")


def normalise_text(text: str) -> str:
    """NFKC, case folded; runs of spaces and punctuation become one space (none at the ends)."""
    folded = _NOT_WORD.sub(_signs, unicodedata.normalize("NFKC", text).casefold()).strip()
    # A text of punctuation only ("!!!", ":)") is itself, not the empty text.
    return folded or " ".join(text.split())


def _signs(gap: re.Match[str]) -> str:
    """One space, and what changes the meaning of what stands beside it: C#, 5%, -5, a smile."""
    between = gap[0]
    if between == " ":
        return between
    signs = "".join(c for c in between if c in _MEANT or unicodedata.category(c) in _MEANT_CATEGORIES)
    # After a letter it is a hyphen or a dash.
    if (
        between.endswith(_MINUS)
        and (len(between) > 1 or not gap.start())
        and gap.string[gap.end() : gap.end() + 1].isdigit()
    ):
        signs += "-"
    return f" {signs} " if signs else " "


def content_key(row: Mapping[str, Any], roles: Roles) -> bytes:
    """Equal for rows with the same input: normalised texts, or all features as they are."""
    names = [name for name in (roles.text, roles.text_pair) if name is not None]
    if names:
        content = "\0".join(normalise_text(str(row.get(name) or "")) for name in names)
    else:
        content = json.dumps([row.get(name) for name in roles.features], ensure_ascii=False, default=str)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def are_copies(keys: Sequence[bytes], roles: Roles) -> bool:
    """Whether rows of equal content are copies of each other: texts always; of a table, where most rows differ.

    Rows of a few categories meet by chance, and held together they would leave no more units than combinations.
    """
    return roles.text is not None or 2 * len(set(keys)) > len(keys)


def fingerprint(tables: Iterable[Table], roles: Roles) -> str:
    """sha256 over the roles and the rows of each table, in order: equal fingerprints mean equal data."""
    digest = hashlib.sha256(json.dumps(asdict(roles), sort_keys=True).encode())
    for table in tables:
        digest.update(f"\n{len(table)}\n".encode())
        for row in table.rows:
            digest.update(canonical_json(row))
            digest.update(b"\n")
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """One byte string for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
