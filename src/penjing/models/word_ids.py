"""Token ids of plain English texts by looking their words up, three times as fast as tokenizing them.

Where a tokenizer cuts texts into words first and each word by itself (BERT's WordPiece), the ids of a text are those of
its words one after another, and a company's texts are made of few words. Only what is certain is done here: letters,
digits and punctuation of ASCII. Every other text is for the tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_WORDS = 10_000  # that are remembered; then they are forgotten all at once
MOST_LETTERS = 40  # of a word that is remembered
_WORD = re.compile("[A-Za-z0-9]+|[^A-Za-z0-9 ]")
_BLANKS = str.maketrans("\t\n\r", "   ")
_NORMALIZER, _CUTTER, _MODEL = "BertNormalizer", "BertPreTokenizer", "WordPiece"


class WordIds:
    """Ids of texts by their words, the same that the tokenizer gives.

    Args:
        tokenizer: which truncates to `max_length`; it is asked for words not met before.
        max_length: tokens, special ones included.
        lowercase: whether the tokenizer reads capitals as small letters.
        marks: first characters of the tokens that may stand inside a text, such as "[" of "[MASK]".
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int, lowercase: bool, marks: str) -> None:
        self._tokenizer = tokenizer
        self._lowercase = lowercase
        self._marks = marks
        self._known: dict[str, list[int]] = {}
        example = tokenizer.encode("a")
        words = [i for i, special in enumerate(example.special_tokens_mask) if not special]
        self._before, self._after = example.ids[: words[0]], example.ids[words[-1] + 1 :]
        self._room = max_length - len(self._before) - len(self._after)

    @classmethod
    def of(cls, tokenizer: Tokenizer, data: bytes, max_length: int) -> WordIds | None:
        """For a loaded tokenizer; None where words do not stand by themselves.

        Args:
            tokenizer: which truncates to `max_length`.
            data: the `tokenizer.json` that it was read from.
            max_length: tokens, special ones included; room for one word at least.
        """
        if _NORMALIZER.encode() not in data:
            return None  # without parsing megabytes once more
        parts: dict[str, Any] = json.loads(data)
        normalizer, cutter = parts.get("normalizer") or {}, parts.get("pre_tokenizer") or {}
        if normalizer.get("type") != _NORMALIZER or not normalizer.get("clean_text"):
            return None
        if cutter.get("type") != _CUTTER or parts["model"].get("type") != _MODEL:
            return None
        marks = "".join({token["content"][:1] for token in parts.get("added_tokens") or ()})
        if any(mark.isalnum() or mark.isspace() or not mark.isprintable() for mark in marks):
            return None
        return cls(tokenizer, max_length, bool(normalizer.get("lowercase")), marks)

    def __call__(self, texts: Sequence[str]) -> list[list[int] | None]:
        """Ids of each text, special tokens included, truncated; None: ask the tokenizer."""
        cut = [self._words(text) for text in texts]
        known = self._known
        new = {word for words in cut if words for word in words if word not in known}
        if new:
            known = self._learned(known, list(new))
        before, after, room = self._before, self._after, self._room
        return [
            None if words is None else [*before, *[token for word in words for token in known[word]][:room], *after]
            for words in cut
        ]

    def _words(self, text: str) -> list[str] | None:
        """Of a text that is plain; else None."""
        if not text.isascii():
            return None
        if not text.isprintable():
            text = text.translate(_BLANKS)
            if not text.isprintable():
                return None
        for mark in self._marks:
            if mark in text:
                return None
        return _WORD.findall(text.lower() if self._lowercase else text)

    def _learned(self, known: dict[str, list[int]], new: list[str]) -> dict[str, list[int]]:
        """What is known with new words, most of which are remembered from now on."""
        found = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
        learned = {word: encoding.ids for word, encoding in zip(new, found, strict=True)}
        if len(known) + len(learned) > MOST_WORDS:
            self._known = {}  # others may be reading the old ones, which they keep
            return {**known, **learned}
        short = {word: ids for word, ids in learned.items() if len(word) <= MOST_LETTERS}
        known.update(short)
        return known if len(short) == len(learned) else {**known, **learned}
