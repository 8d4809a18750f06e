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
_NAMED_FOR_TAGS = 5  # of them; labels may be those of a whole text
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uff00-\uffef\u3000-\u303f]")
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LANGUAGE = re.compile(rf"\s|{_EAST_ASIAN.pattern}")  # what ids, names of parts and single labels do not hold
_CLOSING, _OPENING = frozenset(".,;:!?%)]}"), frozenset("([{$")
_LOOKED_AT = 200


def is_tag(text: str) -> bool:
    """Whether it is O, or a name with one of the schemes' letters before it."""
    return text == OUTSIDE or _PREFIXED.fullmatch(text) is not None


def joined(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """The text that tokens make, and where each begins; no blank beside Chinese and Japanese characters.

    Args:
        tokens: [L] words, or single characters: the digits and letters between Chinese ones were parted, too.

    Returns:
        (text, [L] first characters).
    """
    by_character = any(map(_EAST_ASIAN.fullmatch, tokens)) and _mostly([len(token) == 1 for token in tokens])
    pieces: list[str] = []
    starts: list[int] = []
    length = 0
    for i, token in enumerate(tokens):
        parted = by_character and len(token) == len(tokens[i - 1]) == 1
        if i and not parted and _apart(tokens[i - 1], token):
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
    records: Iterable[tuple[Any, dict[str, Any]]], source: str, text: str | None = None, listener: Listener = ignore
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Rows of tokens and their tags get a text and spans; tokens that are all a row says get a text. Others pass.

    Args:
        records: (key, row) pairs; the first 200 decide.
        source: its name, for messages.
        text: the column of the text, where it is known.
        listener: told of what is read so.

    Raises:
        DataError: a row has tokens and tags of different number, tags without names, or a text that its tokens are not
            of.
    """
    iterator = iter(records)
    head = list(islice(iterator, _LOOKED_AT))
    rows = [row for _, row in head]
    tokens = _tokens_of(rows)
    tags = None if tokens is None else _tags_beside(rows, tokens, source)
    if tokens is None or (tags is None and any(_has_text(row, text) for row in rows)):
        yield from chain(head, iterator)
        return
    if tags is not None:
        listener(Notice("data", f"columns {tokens!r} and {tags!r} are read as {text or 'text'!r} and 'spans'"))
    for key, row in chain(head, iterator):
        yield key, _spanned(row, tokens, tags, text or "text", f"{source}:{key}")


def text_of_tokens(row: dict[str, Any], text: str) -> dict[str, Any]:
    """A row to predict, its tokens made a text where it has no column of that name."""
    tokens = None if _has_text(row, text) else _tokens_of([row])
    return row if tokens is None else _spanned(row, tokens, None, text, "")


def _has_text(row: dict[str, Any], text: str | None) -> bool:
    """Whether a row has a text of its own: the column wanted, or any that is no key."""
    return text in row or any(isinstance(cell, str) and _LANGUAGE.search(cell) for cell in row.values())


def _tokens_of(rows: Sequence[dict[str, Any]]) -> str | None:
    """The column of lists of words, in nearly every row; the exceptions are told where they are read."""
    return next((name for name in _TOKENS if _mostly([_words(row.get(name)) for row in rows])), None)


def _mostly(held: Sequence[bool]) -> bool:
    return sum(held) > 0.9 * len(held)


def _words(cell: Any) -> bool:
    return isinstance(cell, list) and all(isinstance(word, str) for word in cell)


def _tags_beside(rows: Sequence[dict[str, Any]], tokens: str, source: str) -> str | None:
    """The column of as many tags as tokens; of several (parts of speech, phrases, names) the one named for names.

    Raises:
        DataError: it holds numbers, which do not say what they stand for.
    """
    for name in dict.fromkeys([*_TAGS, *(name for row in rows for name in row)]):
        pairs = [(row[tokens], row[name]) for row in rows if row.get(name) is not None and _words(row.get(tokens))]
        if name == tokens or not _mostly([isinstance(cell, list) and len(cell) == len(t) for t, cell in pairs]):
            continue
        cells = [cell for _, cell in pairs if isinstance(cell, list)]
        if name in _TAGS[:_NAMED_FOR_TAGS] and cells and all(type(tag) is int for cell in cells for tag in cell):
            raise DataError(
                f"column {name!r} holds the numbers of tags",
                where=source,
                expected="their names, such as B-PER and O",
                next_step="write the names in place of the numbers",
            )
        tags = {tag for cell in cells for tag in cell if isinstance(tag, str)}
        # Parts of speech have no O: every token has one, and neighbours that share it are no span.
        if tags and (OUTSIDE in tags if name in _TAGS else all(is_tag(tag) for tag in tags)):
            return name
    return None


def _spanned(row: dict[str, Any], tokens: str, tags: str | None, text: str, where: str) -> dict[str, Any]:
    words = row.get(tokens)
    if not _words(words):
        raise DataError(f"column {tokens!r} is no list of words", where=where, expected='a list such as ["a", "b"]')
    written = row.get(text)
    if isinstance(written, str):
        starts = _found_in(written, words)
        if starts is None:
            raise DataError(
                f"the tokens of column {tokens!r} are not those of the text",
                where=where,
                expected="each token in the text, in this order",
                next_step="leave one of the two columns out",
            )
    else:
        written, starts = joined(words)
    found = {name: cell for name, cell in row.items() if name not in {tokens, tags}} | {text: written}
    if tags is None:
        return found
    own = row.get(tags)
    if own is None:  # not labelled yet
        return found | {"spans": None}
    if not _words(own) or len(own) != len(words):
        count = f"{len(own):,} tags" if isinstance(own, list) else "no list of tags"
        raise DataError(f"{len(words):,} tokens and {count}", where=where, expected="one tag a token")
    return found | {"spans": tag_spans(words, starts, own)}


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
