"""Texts to token ids and back to characters, with nothing but the `tokenizers` library (no torch).

Tasks use `TextEncoder`; the settings it needs come with the chosen pretrained model. It is deterministic and safe to
share between threads. Arrays carry N rows and L tokens.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import numpy as np

from penjing.core import packed
from penjing.core.errors import ArtifactError, CapabilityError
from penjing.models.word_ids import WordIds

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

    from penjing.core.task import TextSettings

MAX_TOKENIZER_BYTES = 100_000_000
# No text is read further than max_length × this many characters. The longest pieces of the usual vocabularies have 16
# to 20 characters, so only runs of blanks, or of words of hundreds of letters, could have given more tokens.
CHARS_PER_TOKEN = 32
PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>")
METASPACE = "\u2581"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class _Loaded:
    """A tokenizer set up for a length, which no one may change, the id that pads, and the words met."""

    tokenizer: Tokenizer
    pad_id: int
    words: WordIds | None


# Those that some encoder holds, by content and length. With a vocabulary of 250,000 each takes 280 MB and seconds, and
# a run meets the same one as the pretrained model's and as the artifact's.
_in_use: WeakValueDictionary[tuple[str, int], _Loaded] = WeakValueDictionary()
_pad_ids: dict[str, int] = {}  # of every tokenizer that was parsed, by content


class TextEncoder:
    """Turns texts into arrays of token ids.

    Args:
        settings: the tokenizer's file, the greatest length and the prefix of every text.
    """

    def __init__(self, settings: TextSettings) -> None:
        self.settings = settings

    @property
    def tokenizer(self) -> Tokenizer:
        """The loaded tokenizer: truncates to `max_length`, never pads.

        Raises:
            ArtifactError: the file is missing or is no tokenizer.
            CapabilityError: `max_length` leaves no room for text.
        """
        return self._loaded.tokenizer

    @cached_property
    def pad_id(self) -> int:
        """Id put where a row is shorter than its batch; no reason to parse a tokenizer that was parsed before."""
        if "_loaded" not in vars(self):
            known = _pad_ids.get(_digest(_read(self.settings.tokenizer_file)))
            if known is not None:
                return known
        return self._loaded.pad_id

    @cached_property
    def _loaded(self) -> _Loaded:
        data = _read(self.settings.tokenizer_file)
        key = (_digest(data), self.settings.max_length)
        found = _in_use.get(key)
        if found is None:
            found = _in_use[key] = _load(data, self.settings)
        return found

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """[L] int32 ids of each text, special tokens included, truncated to `max_length`; keep them to encode once."""
        return [np.asarray(ids, np.int32) for ids in self._ids(texts)]

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """[N] int64: tokens of each text after truncation, special tokens included."""
        return np.fromiter(map(len, self._ids(texts)), np.int64, len(texts))

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """A padded batch.

        Returns:
            input_ids and attention_mask, each [N, L] int64, L the longest text of the batch.
        """
        return self.pad(self.tokens(texts))

    def pad(self, rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Stack tokenized texts into the arrays `encode` returns."""
        lengths_N = np.fromiter(map(len, rows), np.int64, len(rows))
        real_NL = np.arange(lengths_N.max(initial=0)) < lengths_N[:, None]
        input_ids = np.full(real_NL.shape, self.pad_id, np.int64)
        if len(rows):
            input_ids[real_NL] = np.concatenate(rows)
        return {"input_ids": input_ids, "attention_mask": real_NL.astype(np.int64)}

    def offsets(self, texts: Sequence[str]) -> np.ndarray:
        """Where each token of `encode(texts)` lies in its text.

        Returns:
            [N, L, 2] int64: first character and one past the last, blanks trimmed; (-1, -1) for tokens that stand for
            no character of the text (special tokens, the prefix, padding).
        """
        encodings = self.tokenizer.encode_batch([self._prepare(text) for text in texts])
        width = max((len(encoding.ids) for encoding in encodings), default=0)
        spans = np.full((len(texts), width, 2), -1, np.int64)
        for i, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            for j, span in enumerate(_spans(text, encoding, len(self.settings.prefix))):
                spans[i, j] = span
        return spans

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of each text, special tokens included, truncated."""
        prepared = [self._prepare(text) for text in texts]
        words = self._loaded.words
        found = [None] * len(prepared) if words is None else words(prepared)
        others = [text for text, ids in zip(prepared, found, strict=True) if ids is None]
        tokenized = iter(self.tokenizer.encode_batch_fast(others) if others else ())
        return [next(tokenized).ids if ids is None else ids for ids in found]

    def _prepare(self, text: str) -> str:
        """Prefix a text and bound the time it can take; characters keep their places."""
        kept = text[: self.settings.max_length * CHARS_PER_TOKEN]
        if kept.isascii():
            return self.settings.prefix + kept
        # JSON can smuggle in halves of a surrogate pair, which are no characters and cannot be encoded as UTF-8.
        return self.settings.prefix + _SURROGATE.sub("\ufffd", kept)


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a `tokenizer.json`.

    Raises:
        ArtifactError: missing, too large, or not a tokenizer.
    """
    return _parse(_read(path), path)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ArtifactError("no such tokenizer file", where=str(path), expected="a Hugging Face tokenizer.json")
    if path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise ArtifactError(f"tokenizer larger than {MAX_TOKENIZER_BYTES} bytes", where=str(path))
    return packed.unpack(path, MAX_TOKENIZER_BYTES) if packed.is_packed(path) else path.read_bytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(data: bytes, path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_buffer(data)
    except ValueError as error:  # what the library raises for anything it cannot parse
        raise ArtifactError(
            f"not a tokenizer: {error}", where=str(path), expected="a Hugging Face tokenizer.json"
        ) from None
    _pad_ids[_digest(data)] = _pad_id(tokenizer)
    return tokenizer


def _load(data: bytes, settings: TextSettings) -> _Loaded:
    tokenizer = _parse(data, settings.tokenizer_file)
    room = settings.max_length - tokenizer.num_special_tokens_to_add(True)
    if room < 1:
        raise CapabilityError(
            f"max_length {settings.max_length} leaves no room for text beside the special tokens",
            expected=f"at least {settings.max_length - room + 1}",
        )
    pad_id = _pad_ids[_digest(data)]
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.max_length, strategy="longest_first")
    return _Loaded(tokenizer, pad_id, WordIds.of(tokenizer, data, settings.max_length))


def _pad_id(tokenizer: Tokenizer) -> int:
    if tokenizer.padding is not None:
        return int(tokenizer.padding["pad_id"])
    found = [tokenizer.token_to_id(token) for token in PAD_TOKENS]
    # A model without a padding token masks these positions like any other model: every id is right.
    return next((token_id for token_id in found if token_id is not None), 0)


def _spans(text: str, encoding: Encoding, shift: int) -> list[tuple[int, int]]:
    """Character span of each token in the text without its prefix; (-1, -1) for tokens without characters."""
    spans = []
    for (begin, end), special, token in zip(
        encoding.offsets, encoding.special_tokens_mask, encoding.tokens, strict=True
    ):
        start, stop = max(begin - shift, 0), end - shift
        while start < stop and text[start].isspace():
            start += 1
        while start < stop and text[stop - 1].isspace():
            stop -= 1
        # A lone metaspace before a word claims the word's first character, which the next token claims too.
        empty = special or start >= stop or token == METASPACE
        spans.append((-1, -1) if empty else (start, stop))
    return spans
