"""Files of one token and its tag a line, a blank line after each sentence (CoNLL-2003 and its many relatives)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError
from penjing.data.config import LimitsConfig
from penjing.data.tags import OUTSIDE, is_tag, joined, tag_spans
from penjing.data.textlines import text_lines

SUFFIXES = (".conll", ".conll2003", ".bio", ".iob", ".iob2", ".bioes", ".bmes")
_LOOKED_AT = 400
_DOCUMENT = "-DOCSTART-"  # a mark of CoNLL-2003


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are made.

    Args:
        width: fields of a line.
        prefixed: whether tags are O, or names with a letter of a scheme before them.
        told: whether it can be nothing else: there are names, sentences, and no other lines.
    """

    width: int
    prefixed: bool
    told: bool


def looks_tagged(path: Path, encoding: str, limits: LimitsConfig) -> bool:
    """Whether the first lines are tokens with tags of a known scheme, in sentences."""
    layout = _layout(path, encoding, limits)
    return layout is not None and layout.told


def read_conll(path: Path, encoding: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (first line, {"text", "spans"}) a sentence; the first column is the token, the last its tag.

    Raises:
        DataError: the last column holds no tags, a line has none, or a sentence has no end.
    """
    layout = _layout(path, encoding, limits)
    if layout is None:
        raise DataError(
            "the last column holds no tags",
            where=str(path),
            expected="a token and its tag a line, such as B-PER, I-PER and O",
            next_step="put the tags last, or say with data.format.kind what the file is",
        )
    tokens: list[str] = []
    tags: list[str] = []
    first = size = 0
    for number, line in enumerate(text_lines(path, encoding, limits.max_cell_chars), start=1):
        fields = _fields(line)
        if fields is not None and _is_comment(fields, layout):
            continue
        if fields is None:
            if tokens:
                yield first, _sentence(tokens, tags)
                tokens, tags, size = [], [], 0
            continue
        if len(fields) < 2:
            raise DataError(
                f"the line has one field, {fields[0][:40]!r}",
                where=f"{path}:{number}",
                expected="a token and its tag, with a tab or blanks between them",
                next_step="add the tag (O for none), or say with data.format.kind what the file is",
            )
        first = first if tokens else number
        tokens.append(fields[0])
        tags.append(fields[-1])
        size += len(fields[0]) + 1
        if size > limits.max_cell_chars:
            raise DataError(
                f"the sentence is longer than {limits.max_cell_chars:,} characters",
                where=f"{path}:{first}",
                expected="a blank line after each sentence",
                next_step="put blank lines between sentences, or raise data.limits.max_cell_chars",
            )
    if tokens:
        yield first, _sentence(tokens, tags)


def _layout(path: Path, encoding: str, limits: LimitsConfig) -> _Layout | None:
    """Seen in the first lines; None where their last fields are no tags."""
    lines = list(islice(text_lines(path, encoding, limits.max_cell_chars), _LOOKED_AT))
    found = [fields for line in lines if (fields := _fields(line)) is not None]
    # Comments have any number of fields, and stand among many more lines of tokens.
    width = Counter(len(fields) for fields in found).most_common(1)[0][0] if found else 0
    tags = Counter(fields[-1] for fields in found if len(fields) == width and not fields[0].startswith("#"))
    prefixed = sum(count for tag, count in tags.items() if is_tag(tag)) > 0.9 * tags.total()
    if width < 2 or not (prefixed or OUTSIDE in tags):
        return None
    # Numbers of tokens in front are those of CoNLL-U, whose last column holds other things.
    counted = [fields[0] for fields in found if len(fields) == width][:2] == ["1", "2"]
    if counted:
        return None
    even = all(len(fields) == width for fields in found if not fields[0].startswith("#"))
    sentences = any(not line.strip() for line in lines[:-1])
    return _Layout(width, prefixed, prefixed and even and sentences and bool(tags.keys() - {OUTSIDE}))


def _fields(line: str) -> list[str] | None:
    """Token, columns between, tag; None for blank lines and marks between documents."""
    line = line.rstrip("\r\n")
    if not line.strip() or line.startswith(_DOCUMENT):
        return None
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) == 1 and line[0].isspace():  # the token is a blank itself
        return [line[0], *fields]
    return [field.strip() or " " for field in fields]


def _is_comment(fields: list[str], layout: _Layout) -> bool:
    """A token may be a hash, too: its line then has as many fields as others, and a tag."""
    return fields[0].startswith("#") and (len(fields) != layout.width or (layout.prefixed and not is_tag(fields[-1])))


def _sentence(tokens: list[str], tags: list[str]) -> dict[str, Any]:
    text, starts = joined(tokens)
    return {"text": text, "spans": tag_spans(tokens, starts, tags)}
