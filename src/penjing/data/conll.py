"""Files of one token and its tag a line, a blank line after each sentence (CoNLL-2003 and its many relatives)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from penjing.core.errors import DataError
from penjing.data.config import LimitsConfig
from penjing.data.tags import OUTSIDE, is_tag, joined, tag_spans
from penjing.data.textlines import text_lines

SUFFIXES = (".conll", ".conll2003", ".bio", ".iob", ".iob2", ".bioes", ".bmes")
_LOOKED_AT = 400


def looks_tagged(path: Path, encoding: str, limits: LimitsConfig) -> bool:
    """Whether the first lines are tokens with tags of a known scheme, in sentences."""
    lines = list(islice(text_lines(path, encoding, limits.max_cell_chars), _LOOKED_AT))
    tags = {fields[-1] for line in lines if (fields := _fields(line)) is not None}
    blank = any(not line.strip() for line in lines[:-1])
    return blank and all(map(is_tag, tags)) and bool(tags - {OUTSIDE}) and not any(_lone(line) for line in lines)


def _fields(line: str) -> list[str] | None:
    """Token, columns between, tag; None for blank lines, comments and marks between documents."""
    line = line.rstrip("\r\n")
    if not line.strip() or line.startswith("-DOCSTART-"):
        return None
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) == 1 and line[0].isspace():  # the token is a blank itself
        return [line[0], *fields]
    if line.startswith("# ") and len(fields) != 2 and not is_tag(fields[-1]):
        return None
    return [field.strip() or " " for field in fields]


def _lone(line: str) -> bool:
    fields = _fields(line)
    return fields is not None and len(fields) < 2


def read_conll(path: Path, encoding: str, limits: LimitsConfig) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (first line, {"text", "spans"}) a sentence; the first column is the token, the last its tag.

    Raises:
        DataError: a line has no tag, or a sentence has no end.
    """
    tokens: list[str] = []
    tags: list[str] = []
    first = size = 0
    number = 0
    for number, line in enumerate(text_lines(path, encoding, limits.max_cell_chars), start=1):
        fields = _fields(line)
        if fields is None:
            if tokens and not line.startswith("# "):  # comments stand before a sentence, or in it
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


def _sentence(tokens: list[str], tags: list[str]) -> dict[str, Any]:
    text, starts = joined(tokens)
    return {"text": text, "spans": tag_spans(tokens, starts, tags)}
