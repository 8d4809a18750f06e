"""Texts → windows of tokens that know their characters.

A text longer than the model reads is cut into windows that overlap. Each token belongs to the core of exactly one
window, the one that shows it with more context; a span is taken from where its first token is, so windows need no
merging rule.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from penjing.core.errors import CapabilityError, DataError
from penjing.core.task import Batch, Span, TextSettings
from penjing.models.tokenizer import METASPACE, TextEncoder, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

MAX_CHARS = 500_000
OVERLAP_SHARE = 0.25
_SURROGATE = re.compile("[\ud800-\udfff]")
_PUNCTUATION = r"\p{P}|\p{S}"
_EAST_ASIAN = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
MISALIGNED_SHARE = 0.05
MISALIGNED_SHARE_CHARACTER = 0.1


class Granularity(StrEnum):
    """How finely texts are tokenized: no span can begin or end inside a token."""

    SUBWORD = "subword"
    """As the model was pretrained."""
    PUNCTUATION = "punctuation"
    """Each punctuation mark and symbol by itself: vocabularies join "8.50%," to a token or two."""
    CHARACTER = "character"
    """Chinese and Japanese characters by themselves, too. Spans fit, but the model reads what it never saw, which cost
    6 points of F1 on FewFC (docs/decisions/0012-span-scores.md): for spans that subwords cut through often."""


@dataclass(frozen=True)
class SpanEncoder:
    """Tokenizes for span tasks.

    Args:
        settings: tokenizer and greatest length. Its prefix is left out: it is there for vectors of whole texts.
        granularity: how finely.
        longest: tokens of the longest span that a window has to show whole.
    """

    settings: TextSettings
    granularity: Granularity
    longest: int = 1

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, without truncation and padding.

        Raises:
            ArtifactError: the file is missing or is no tokenizer.
        """
        from tokenizers import Regex, pre_tokenizers

        tokenizer = load_tokenizer(self.settings.tokenizer_file)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if self.granularity is not Granularity.SUBWORD:
            pattern = _PUNCTUATION
            if self.granularity is Granularity.CHARACTER:
                pattern += "|" + _EAST_ASIAN
            split = pre_tokenizers.Split(Regex(pattern), "isolated")
            before = [tokenizer.pre_tokenizer] if tokenizer.pre_tokenizer is not None else []
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*before, split])
        return tokenizer

    @cached_property
    def pad_id(self) -> int:
        """Id put where a window is shorter than its batch."""
        return TextEncoder(self.settings).pad_id

    @cached_property
    def frame(self) -> tuple[list[int], list[int]]:
        """Ids of the special tokens before and after a text."""
        ids, plain = (self.tokenizer.encode("a", add_special_tokens=special).ids for special in (True, False))
        at = next(i for i in range(len(ids)) if ids[i : i + len(plain)] == plain)
        return ids[:at], ids[at + len(plain) :]

    @property
    def room(self) -> int:
        """Tokens of text a window holds.

        Raises:
            CapabilityError: none.
        """
        room = self.settings.max_length - sum(map(len, self.frame))
        if room < 4:
            raise CapabilityError(f"max_length {self.settings.max_length} is too short", expected="at least 6")
        return room

    def tokens(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids [L] and characters [L, 2] of each text's tokens, special ones not included; blanks trimmed off.

        Tokens without characters have (-1, -1).

        Raises:
            DataError: a text is too long.
        """
        for i, text in enumerate(texts):
            if len(text) > MAX_CHARS:
                raise DataError(
                    f"the text has {len(text):,} characters",
                    where=f"row {i}",
                    expected=f"at most {MAX_CHARS:,}",
                    next_step="split it into several rows",
                )
        # Halves of a surrogate pair are no characters and cannot be encoded as UTF-8.
        ready = [_SURROGATE.sub("\ufffd", text) for text in texts]
        encodings = self.tokenizer.encode_batch(ready, add_special_tokens=False)
        return [
            (np.asarray(encoding.ids, np.int64), _characters(text, encoding))
            for text, encoding in zip(ready, encodings, strict=True)
        ]

    def lengths(self, texts: Sequence[str]) -> np.ndarray:
        """[N] tokens of all windows of each text."""
        before, after = self.frame
        lengths = []
        for ids, _ in self.tokens(texts):
            bounds = window_bounds(len(ids), self.room, self.longest)
            lengths.append(sum(stop - start for start, stop, _, _ in bounds) + len(bounds) * len(before + after))
        return np.array(lengths, np.int64)

    def encode(self, texts: Sequence[str], max_windows: int | None = None) -> Batch:
        """Windows of all texts, padded to the longest.

        Args:
            texts: N texts.
            max_windows: windows kept of each text; None: all.

        Returns:
            input_ids and attention_mask [W, L] int64; offsets [W, L, 2] characters, -1 where there are none; window_row
            [W] the text of each window; core [W, 2] first and one past the last token whose finds count.
        """
        before, after = self.frame
        windows = []
        for row, (ids, characters) in enumerate(self.tokens(texts)):
            for start, stop, first, last in window_bounds(len(ids), self.room, self.longest)[:max_windows]:
                shift = len(before) - start
                windows.append((row, ids[start:stop], characters[start:stop], first + shift, last + shift))
        width = max((len(ids) for _, ids, *_ in windows), default=0) + len(before) + len(after)
        batch = {
            "input_ids": np.full((len(windows), width), self.pad_id, np.int64),
            "attention_mask": np.zeros((len(windows), width), np.int64),
            "offsets": np.full((len(windows), width, 2), -1, np.int64),
            "window_row": np.array([row for row, *_ in windows], np.int64),
            "core": np.array([window[3:] for window in windows], np.int64).reshape(-1, 2),
        }
        for w, (_, ids, characters, *_) in enumerate(windows):
            size = len(before) + len(ids) + len(after)
            batch["input_ids"][w, :size] = [*before, *ids, *after]
            batch["attention_mask"][w, :size] = 1
            batch["offsets"][w, len(before) : len(before) + len(ids)] = characters
        return batch


def window_bounds(num_tokens: int, room: int, longest: int = 1) -> list[tuple[int, int, int, int]]:
    """(start, stop, first, last) of each window over a text: tokens shown, and tokens of the core.

    The cores partition the tokens. Neighbouring windows share a quarter of their tokens; where spans are long up to
    three eighths, so that a span that begins in a core is shown whole, be it as long as a quarter of a window.

    Args:
        num_tokens: of the text.
        room: tokens a window holds.
        longest: tokens of the longest span.
    """
    if num_tokens <= room:
        return [(0, num_tokens, 0, num_tokens)]
    usual = max(2, int(room * OVERLAP_SHARE))
    before = usual // 2
    shared = before + min(max(usual - before, longest - 1), room // 4)
    starts = list(range(0, num_tokens - shared, room - shared))
    bounds = []
    for start in starts:
        stop = min(start + room, num_tokens)
        first = start + before if start else 0
        last = num_tokens if start == starts[-1] else start + (room - shared) + before
        bounds.append((start, stop, first, last))
    return bounds


def token_spans(spans: Sequence[Span], offsets_L2: np.ndarray, places: dict[str, int]) -> list[tuple[int, int, int]]:
    """(first token, last token, label) of each span that this window shows whole.

    A border inside a token is moved to the token's border.

    Args:
        spans: in characters.
        offsets_L2: characters of each token, -1 where there are none.
        places: label → index.
    """
    real = np.flatnonzero(offsets_L2[:, 0] >= 0)
    begins, ends = offsets_L2[real, 0], offsets_L2[real, 1]
    found = set()
    for span in spans:
        inside = np.flatnonzero((begins < span.end) & (ends > span.start))
        if len(inside) and begins[inside[0]] <= span.start and ends[inside[-1]] >= span.end:
            found.add((int(real[inside[0]]), int(real[inside[-1]]), places[span.label]))
    return sorted(found)


def choose_granularity(
    settings: TextSettings, texts: Sequence[str], all_spans: Sequence[Sequence[Span]]
) -> tuple[Granularity, int]:
    """The coarsest tokens that fit these spans well enough, and the tokens of the longest span.

    Punctuation is split off where more than 5% of the spans begin or end inside a token, and characters where more than
    10% still do.
    """
    chosen = Granularity.SUBWORD
    longest, misaligned = _fit(SpanEncoder(settings, chosen), texts, all_spans)
    if misaligned > MISALIGNED_SHARE:
        chosen = Granularity.PUNCTUATION
        longest, misaligned = _fit(SpanEncoder(settings, chosen), texts, all_spans)
    if misaligned > MISALIGNED_SHARE_CHARACTER:
        chosen = Granularity.CHARACTER
        longest, _ = _fit(SpanEncoder(settings, chosen), texts, all_spans)
    return chosen, longest


def _fit(encoder: SpanEncoder, texts: Sequence[str], all_spans: Sequence[Sequence[Span]]) -> tuple[int, float]:
    """Tokens of the longest span, and the share of spans whose borders are no borders of tokens."""
    longest, total, misaligned = 1, 0, 0
    for (_, characters), spans in zip(encoder.tokens(texts), all_spans, strict=True):
        begins, ends = set(characters[:, 0].tolist()), set(characters[:, 1].tolist())
        for first, last, _ in token_spans(spans, characters, {span.label: 0 for span in spans}):
            longest = max(longest, last - first + 1)
        total += len(spans)
        misaligned += sum(span.start not in begins or span.end not in ends for span in spans)
    return longest, misaligned / max(1, total)


def _characters(text: str, encoding: Encoding) -> np.ndarray:
    spans = []
    for (start, stop), token in zip(encoding.offsets, encoding.tokens, strict=True):
        while start < stop and text[start].isspace():
            start += 1
        while start < stop and text[stop - 1].isspace():
            stop -= 1
        # A lone metaspace claims the word's first character, which the next token claims too.
        spans.append((-1, -1) if start >= stop or token == METASPACE else (start, stop))
    return np.array(spans, np.int64).reshape(-1, 2)
