"""Tags of tokens (BIO, IOB1, BIOES, BILOU, BMES or bare names) → a text and its labelled spans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from penjing.core.errors import DataError
from penjing.core.events import Listener, Notice, ignore

OUTSIDE = "O"
_PREFIXED = re.compile(r"([BIESLUM])[-_](.+)")
_TOKENS = ("tokens", "words", "chars", "分词", "字")
_TAGS = ("ner_tags", "ner", "ner_labels", "bio_tags", "tags", "labels", "label", "标签")
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef\u3000-\u303f\uac00-\ud7af]")
_CLOSING, _OPENING = frozenset(".,;:!?%)]}"), frozenset("([{$")
_LOOKED_AT = 200


def is_tag(text: str) -> bool:
    """Whether it is O, or a name with one of the schemes' letters before it."""
    return text == OUTSIDE or _PREFIXED.fullmatch(text) is not None


def joined(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """The text that tokens make, and where each begins; no blank beside Chinese, Japanese or Korean characters.

    Args:
        tokens: [L] words, or single characters.

    Returns:
        (text, [L] first characters).
    """
    pieces: list[str] = []
    starts: list[int] = []
    length = 0
    for i, token in enumerate(tokens):
        if i and _apart(tokens[i - 1], token):
            pieces.append(" ")
            length += 1
        starts.append(length)
        pieces.append(token)
        length += len(token)
    return "".join(pieces), starts


def _apart(before: str, after: str) -> bool:
    if not before or not after or before in _OPENING or after in _CLOSING:
        return False
    return not (
        before[-1].isspace() or after[0].isspace() or _SPACELESS.match(before[-1]) or _SPACELESS.match(after[0])
    )


def tag_spans(tokens: Sequence[str], starts: Sequence[int], tags: Sequence[str]) -> list[dict[str, Any]]:
    """Spans of the tokens' text.

    Args:
        tokens: [L] words or characters.
        starts: [L] where each begins in the text.
        tags: [L] one each. I, M, E and L go on with a span of their label, or begin one where there is none (IOB1, and
            slips of BIO); names without a letter before them make one span as long as they repeat.

    Returns:
        {"start", "end", "label"} in characters, end exclusive.
    """
    spans: list[dict[str, Any]] = []
    is_open = False
    for token, start, tag in zip(tokens, starts, tags, strict=True):
        if tag in {OUTSIDE, ""}:
            is_open = False
            continue
        found = _PREFIXED.fullmatch(tag)
        letter, label = found.groups() if found else ("I", tag)
        if not (is_open and letter in "IMEL" and spans[-1]["label"] == label):
            spans.append({"start": start, "end": start, "label": label})
        spans[-1]["end"] = start + len(token)
        is_open = letter in "BIM"
    return spans


def with_spans(
    records: Iterable[tuple[Any, dict[str, Any]]], source: str, listener: Listener = ignore
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Rows of tokens and their tags get a text and spans; tokens that are all a row says get a text. Others pass.

    Args:
        records: (key, row) pairs; the first 200 decide.
        source: its name, for messages.
        listener: told of what is read so.

    Raises:
        DataError: a later row has tokens and tags of different number, or a text that its tokens are not of.
    """
    iterator = iter(records)
    head = list(islice(iterator, _LOOKED_AT))
    rows = [row for _, row in head]
    tokens = next((name for name in _TOKENS if rows and all(_words(row.get(name)) for row in rows)), None)
    tags = None if tokens is None else _tags_beside(rows, tokens)
    written = any(isinstance(cell, str) for row in rows for cell in row.values())
    if tokens is None or (tags is None and written):
        yield from chain(head, iterator)
        return
    if tags is not None:
        listener(Notice("data", f"columns {tokens!r} and {tags!r} are read as 'text' and 'spans'"))
    for key, row in chain(head, iterator):
        yield key, _spanned(row, tokens, tags, f"{source}:{key}")


def _words(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(word, str) for word in cell)


def _tags_beside(rows: Sequence[dict[str, Any]], tokens: str) -> str | None:
    """The column of as many tags as tokens; of several (parts of speech, phrases, names) the one named for names."""
    names = dict.fromkeys([*_TAGS, *(name for row in rows for name in row)])

    def fits(name: str) -> bool:
        pairs = [(row[tokens], row[name]) for row in rows if row.get(name) is not None]  # a row may be without tags
        if name == tokens or not pairs or not all(_words(cell) and len(cell) == len(words) for words, cell in pairs):
            return False
        tags = {tag for _, cell in pairs for tag in cell}
        # Parts of speech have no O: every token has one, and neighbours that share it are no span.
        return OUTSIDE in tags if name in _TAGS else all(is_tag(tag) for tag in tags)

    return next((name for name in names if fits(name)), None)


def _spanned(row: dict[str, Any], tokens: str, tags: str | None, where: str) -> dict[str, Any]:
    words = row.get(tokens)
    if not _words(words):
        raise DataError(f"column {tokens!r} is no list of words", where=where, expected='a list such as ["a", "b"]')
    text = row.get("text")
    if isinstance(text, str):
        starts = _found_in(text, words)
        if starts is None:
            raise DataError(
                f"the tokens of column {tokens!r} are not those of the text",
                where=where,
                expected="each token in the text, in this order",
                next_step="leave one of the two columns out",
            )
    else:
        text, starts = joined(words)
    found = {name: cell for name, cell in row.items() if name not in {tokens, tags}} | {"text": text}
    if tags is not None:
        own = row.get(tags)
        if own is None:  # not labelled yet
            return found | {"spans": None}
        if not _words(own) or len(own) != len(words):
            count = f"{len(own):,} tags" if isinstance(own, list) else "no list of tags"
            raise DataError(f"{len(words):,} tokens and {count}", where=where, expected="one tag a token")
        found["spans"] = tag_spans(words, starts, own)
    return found


def _found_in(text: str, tokens: Sequence[str]) -> list[int] | None:
    """Where each token begins in the row's own text; None where one is not found after the one before."""
    starts, end = [], 0
    for token in tokens:
        start = text.find(token, end)
        if start < 0:
            return None
        starts.append(start)
        end = start + len(token)
    return starts
