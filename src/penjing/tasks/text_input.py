"""The input side of every text task: one or two text columns → token ids.

A text task owns a `TextInput` and keeps to itself only what it predicts. Nothing here knows of labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from penjing.core import packed
from penjing.core.errors import DataError
from penjing.core.task import Batch, Roles, Row, TensorSpec, TextSettings
from penjing.models.tokenizer import TextEncoder
from penjing.tasks.state import TaskState

TOKENIZER_FILE = "tokenizer.json"
# Ten novels' worth; the tokenizer reads only the beginning, but a row this long is a mistake of whoever made the file.
MAX_TEXT_CHARS = 10_000_000
MAX_MEASURED_TEXTS = 8_192
MAX_KEPT_TEXTS = 100_000  # whose tokens are remembered: 30 MB at the length of a message, 130 MB at 256 tokens


class TextInputState(TaskState):
    """What an artifact keeps of a `TextInput`; the tokenizer lies beside it."""

    text: str = Field(min_length=1, max_length=1000)
    text_pair: str | None = Field(None, min_length=1, max_length=1000)
    max_length: int = Field(ge=3, le=100_000)
    prefix: str = Field("", max_length=1000)


@dataclass(frozen=True)
class TextInput:
    """Reads texts out of rows and encodes them.

    The two texts of a pair are encoded each by itself and stand side by side, on an axis of their own; see
    docs/decisions/0015-pairs-apart.md.

    Args:
        settings: tokenizer, greatest length, prefix.
        text: column of the text, or of the first text of a pair.
        text_pair: column of the second text, or None.
    """

    settings: TextSettings
    text: str
    text_pair: str | None = None

    @cached_property
    def encoder(self) -> TextEncoder:
        """The tokenizer, loaded on first use."""
        return TextEncoder(self.settings)

    @property
    def roles(self) -> Roles:
        """The columns it reads."""
        return Roles(text=self.text, text_pair=self.text_pair)

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The model's inputs."""
        shape = ("batch", "length") if self.text_pair is None else ("batch", 2, "length")
        return tuple(TensorSpec(name, shape, "int64") for name in ("input_ids", "attention_mask"))

    @property
    def longest(self) -> int:
        """Tokens of the longest text that the model reads."""
        return self.settings.max_length

    def lengths(self, rows: Sequence[Row]) -> np.ndarray:
        """[N] int64: tokens a row after truncation; of a pair, as many as it takes with the shorter text padded."""
        first, second = self._columns(rows)
        texts = [*first, *(second or ())]
        tokens = self.encoder.tokens(texts)
        # Whoever asks for lengths encodes the same rows next, and tokenizing is most of what a small model costs.
        self._measured[0] = dict(zip(texts, tokens, strict=True)) if len(texts) <= MAX_MEASURED_TEXTS else {}
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        return lengths if second is None else 2 * np.maximum(*lengths.reshape(2, -1))

    def encode(self, rows: Sequence[Row], *, again: bool = False) -> Batch:
        """Rows → padded arrays named as `specs`; `again`: they will be asked for again, as training rows are."""
        first, second = self._columns(rows)
        texts = first if second is None else [text for pair in zip(first, second, strict=True) for text in pair]
        arrays = self.encoder.pad(self._recalled(texts) if again else self._tokens(texts))
        if second is None:
            return arrays
        return {name: array.reshape(len(rows), 2, array.shape[1]) for name, array in arrays.items()}

    @cached_property
    def _measured(self) -> list[dict[str, np.ndarray]]:
        """Tokens of the texts whose lengths were asked for last; replaced as a whole, as threads share it."""
        return [{}]

    def _tokens(self, texts: list[str]) -> list[np.ndarray]:
        """Tokens of each text, as they were measured where they were."""
        known = self._measured[0]
        if any(text not in known for text in texts):
            return self.encoder.tokens(texts)
        return [known[text] for text in texts]

    @cached_property
    def _kept(self) -> dict[str, np.ndarray]:
        return {}

    def _recalled(self, texts: list[str]) -> list[np.ndarray]:
        """Tokens of each text, from memory where it has been met; tokenizing takes a fiftieth of a training step."""
        found = {text: self._kept[text] for text in texts if text in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in found]
        if new:
            found |= zip(new, self.encoder.tokens(new), strict=True)
            if len(self._kept) + len(new) <= MAX_KEPT_TEXTS:
                self._kept.update((text, found[text]) for text in new)
        return [found[text] for text in texts]

    def _columns(self, rows: Sequence[Row]) -> tuple[list[str], list[str] | None]:
        first = [text_cell(row, self.text, i) for i, row in enumerate(rows)]
        if self.text_pair is None:
            return first, None
        return first, [text_cell(row, self.text_pair, i) for i, row in enumerate(rows)]

    def with_tokenizer(self, tokenizer_file: Path) -> TextInput:
        """The same columns, read with another tokenizer."""
        return replace(self, settings=replace(self.settings, tokenizer_file=tokenizer_file))

    def to_state(self) -> TextInputState:
        """What is kept; see `files`."""
        return TextInputState(
            text=self.text,
            text_pair=self.text_pair,
            max_length=self.settings.max_length,
            prefix=self.settings.prefix,
        )

    def files(self) -> dict[str, Path]:
        """Name in the artifact → file to copy, packed where it is."""
        file = self.settings.tokenizer_file
        return {TOKENIZER_FILE + (packed.SUFFIX if packed.is_packed(file) else ""): file}

    @classmethod
    def from_state(cls, state: TextInputState, directory: Path) -> TextInput:
        """Inverse of `to_state`, with the tokenizer in `directory`."""
        file = packed.stored(directory / TOKENIZER_FILE)
        settings = TextSettings(file, max_length=state.max_length, prefix=state.prefix)
        return cls(settings, state.text, state.text_pair)


def text_cell(row: Row, column: str, position: int) -> str:
    """The text of one cell. A missing value is an empty text, and a number is its digits, as spreadsheets mix them.

    Raises:
        DataError: the column is absent, the cell holds a list or an object, or is absurdly long.
    """
    where = f"row {position}"
    if column not in row:
        raise DataError(f"has no column {column!r}", where=where, expected=f"the columns {sorted(map(str, row))[:20]}")
    value = row[column]
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARS:
            raise DataError(
                f"the text in {column!r} has {len(value):,} characters",
                where=where,
                expected=f"at most {MAX_TEXT_CHARS:,}",
                next_step="split it into several rows",
            )
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | float):
        return str(value)
    raise DataError(f"{column!r} holds a {type(value).__name__}, not a text", where=where, expected="a string")


def why_no_text(rows: Sequence[Row], roles: Roles, *, pair: bool) -> str | None:
    """Why these rows have no usable text, for the user; None when they have."""
    wanted = {"text": roles.text, **({"text_pair": roles.text_pair} if pair else {})}
    for role, column in wanted.items():
        if column is None:
            return f"no column plays the role {role!r}"
        if not any(text_cell(row, column, i).strip() for i, row in enumerate(rows)):
            return f"every text in column {column!r} is empty"
    return None
