"""Rows on which a compressed model is looked at besides the test part: out of scope, unseen words, typing errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation_data import Rows

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def out_of_scope(data: Path) -> list[str]:
    """Queries to an assistant about anything but a bank; the other folder there holds intents that the model knows."""
    path = data / "banking77" / "oos" / "ood-oos" / "test" / "seq.in"
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def unseen_words(tokenizer: Path, train: Rows, test: Rows) -> np.ndarray:
    """[N] bool: which test rows have a piece that is in no training row."""
    from tokenizers import Tokenizer

    pieces = Tokenizer.from_file(str(tokenizer))
    pieces.no_padding()
    known: set[int] = set()
    for encoding in pieces.encode_batch([row["text"] for row in train]):
        known.update(encoding.ids)
    return np.array([not known.issuperset(one.ids) for one in pieces.encode_batch([row["text"] for row in test])])


def with_typos(texts: list[str], *, seed: int = 0, share: float = 0.15) -> list[str]:
    """Texts as hurried fingers write them: in about every seventh longer word one letter is wrong.

    A letter is left out, doubled, swapped with the next, or hit beside its key; at least one in every text.

    Args:
        texts: in a Latin script.
        seed: of the draw.
        share: of the words of four letters and more.
    """
    generator = np.random.default_rng(seed)
    return [_mistyped(text, generator, share) for text in texts]


def _mistyped(text: str, generator: np.random.Generator, share: float) -> str:
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if sum(letter.isalpha() for letter in word) >= 4]
    chosen = [i for i in long if generator.random() < share]
    if not chosen and long:
        chosen = [long[generator.integers(len(long))]]
    for i in chosen:
        words[i] = _one_wrong(words[i], generator)
    return " ".join(words)


def _one_wrong(word: str, generator: np.random.Generator) -> str:
    place = int(generator.integers(1, len(word) - 1))
    kind = generator.integers(4)
    if kind == 0:
        return word[:place] + word[place + 1 :]
    if kind == 1:
        return word[:place] + word[place] + word[place:]
    if kind == 2:
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return word[:place] + _beside(word[place], generator) + word[place + 1 :]


def _beside(letter: str, generator: np.random.Generator) -> str:
    for row in KEYBOARD:
        at = row.find(letter.lower())
        if at >= 0:
            near = row[max(0, at - 1) : at] + row[at + 1 : at + 2]
            return near[generator.integers(len(near))]
    return letter


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Chance in percent that a row in scope is answered with more confidence than one out of scope; ties count half."""
    order = np.sort(outside)
    below = np.searchsorted(order, inside, "left")
    upto = np.searchsorted(order, inside, "right")
    return 100 * float(np.mean(below + (upto - below) / 2) / len(outside))


def auroc_lost(
    before: list[list[float]], after: list[list[float]], *, resamples: int = 1_000, seed: int = 0
) -> tuple[float, float, float]:
    """(lost, low, high) in points: paired bootstrap over rows in scope and rows out of scope.

    Args:
        before: confidences of one model, in scope and out of scope.
        after: of the other, on the same rows.
        resamples: drawn.
        seed: of the draw.
    """
    sides = [[np.array(part) for part in side] for side in (before, after)]
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        places = [generator.integers(0, len(part), len(part)) for part in sides[0]]
        first, second = (auroc(side[0][places[0]], side[1][places[1]]) for side in sides)
        drawn.append(first - second)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return auroc(*sides[0]) - auroc(*sides[1]), float(low), float(high)
