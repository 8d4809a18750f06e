"""Training rows as they might have been written: with other words, words never met, typing errors, or half of another.

A student that has only met its company's words is as sure of an answer where the words mean something else. Its teacher
has met many more in pretraining, so it is asked what it says of texts in which some are put.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penjing.compress.vocabulary import pieces_of, script_of
from penjing.core.task import Row, Task
from penjing.models.tokenizer import METASPACE

# Shares of the words of a text; where there are several, one is drawn for each text.
DROPPED, FOREIGN = 0.1, 0.1
_STRANGE = (0.0, 0.0, 0.15, 0.3)
_MISTYPED = (0.0, 0.0, 0.15, 0.3)
# Shares of the texts: of little but strange words, and those whose second half is another's.
_ALL_STRANGE, _MIXED = 1 / 12, 1 / 10
_IDEOGRAPHS = "\u3400-\u9fff\uf900-\ufaff"  # each a word of its own
# Vowels of Devanagari or Thai, and accents that stand by themselves, belong to the letter before them.
_MARKS = "".join(char for char in map(chr, range(0x300, 0xFB00)) if unicodedata.category(char)[0] == "M")
_LETTERS = re.compile(rf"(?:[^\W\d_][{_MARKS}]*)+")
_UNIT = re.compile(rf"[{_IDEOGRAPHS}]|(?:[^\W\d_{_IDEOGRAPHS}][{_MARKS}]*)+|\d+|(?:[^\w]|_)+")
_LEAST_MISTYPED = 4  # letters
_MOST_CHARS = 20_000  # more than any encoder here reads
_SPACED = "Ġ"  # how BPE over bytes marks a word's beginning


@dataclass(frozen=True)
class Disturber:
    """Makes up versions of texts.

    Args:
        texts: of the training rows, cut into words and what stands between.
        words: that a text may be disturbed by.
        columns: of a row that hold texts.
    """

    texts: Sequence[list[str]]
    words: Sequence[str]
    columns: Sequence[str]

    @classmethod
    def of(cls, task: Task, rows: Sequence[Row]) -> Disturber:
        """One for the rows of a task, with words from its tokenizer's vocabulary.

        Args:
            task: of texts or pairs.
            rows: at least one, which are what texts get words of each other from.
        """
        columns = [column for column in (task.roles.text, task.roles.text_pair) if column is not None]
        texts = [_UNIT.findall(_text(row.get(column))) for row in rows for column in columns]
        scripts = {script_of(char) for text in texts for unit in text for char in unit if char.isalpha()}
        return cls(texts, whole_words(task.files()["tokenizer.json"], scripts), columns)

    def __call__(self, row: Row, generator: np.random.Generator) -> Row:
        """A version of a row; its label is not to be believed any more."""
        return {**row, **{column: self._altered(_text(row.get(column)), generator) for column in self.columns}}

    def _altered(self, text: str, generator: np.random.Generator) -> str:
        units = _UNIT.findall(text)
        if generator.random() < _MIXED:
            other = self._any_text(generator)
            units = [*units[: len(units) // 2], " ", *other[len(other) // 2 :]]
        strange = generator.choice(_STRANGE)
        if generator.random() < _ALL_STRANGE:
            strange = generator.uniform(0.6, 1.0)
        mistyped = generator.choice(_MISTYPED)
        made = []
        for unit, draw in zip(units, generator.random((len(units), 3)), strict=True):
            if not unit[0].isalnum():
                made.append(unit)
            elif draw[0] >= DROPPED:
                word = self._replaced(unit, strange, draw[1], generator)
                made.append(_mistyped(word, generator) if draw[2] < mistyped else word)
        return "".join(made) if any(unit[0].isalnum() for unit in made) else text

    def _replaced(self, unit: str, strange: float, draw: float, generator: np.random.Generator) -> str:
        if draw < strange and self.words:
            return self.words[generator.integers(len(self.words))]
        if strange <= draw < strange + FOREIGN:
            other = self._any_text(generator)
            found = other[generator.integers(len(other))] if other else unit
            return found if found[0].isalnum() else unit
        return unit

    def _any_text(self, generator: np.random.Generator) -> list[str]:
        return self.texts[generator.integers(len(self.texts))]


def _text(value: object) -> str:
    """A cell as tasks read it: nothing is an empty text, and a number its digits; the end of a long one is not read."""
    missing = value is None or value != value  # NaN alone differs from itself
    return "" if missing else str(value)[:_MOST_CHARS]


def whole_words(tokenizer_file: Path, scripts: set[str]) -> list[str]:
    """The pieces of a vocabulary that are words, of letters of these scripts alone.

    Args:
        tokenizer_file: a `tokenizer.json`.
        scripts: as `vocabulary.script_of` names them.
    """
    model = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]
    marked = METASPACE if isinstance(model["vocab"], list) else _SPACED if "merges" in model else ""
    found = []
    for piece in pieces_of(model):
        word = piece.removeprefix(marked)
        ideographs = re.fullmatch(f"[{_IDEOGRAPHS}]+", word) is not None
        begins = ideographs or (piece.startswith(marked) and len(word) > 2)  # "##ing" is not of letters alone
        if marked == _SPACED and not word.isascii():
            continue  # bytes, each shown as some letter
        if begins and _LETTERS.fullmatch(word) and all(script_of(char) in scripts for char in word if char.isalpha()):
            found.append(word)
    return found


def _mistyped(word: str, generator: np.random.Generator) -> str:
    """With a letter left out, doubled, swapped with the next or taken for another, but for the first one.

    Short words and ideographs stay as they are.
    """
    if len(word) < _LEAST_MISTYPED or unicodedata.name(word[0], "").startswith("CJK"):
        return word
    place, kind = int(generator.integers(1, len(word) - 1)), generator.integers(4)
    before, here, after, rest = word[:place], word[place], word[place + 1], word[place + 2 :]
    if kind == 0:
        return before + after + rest
    if kind == 1:
        return before + here + here + after + rest
    if kind == 2:
        return before + after + here + rest
    return before + word[generator.integers(len(word))] + after + rest
