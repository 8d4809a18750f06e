"""A tokenizer of the pieces that a company's texts are made of, and of what other words can be spelled with.

A multilingual vocabulary is most of a small model: of 118 million parameters 96 are vectors of pieces, and shop reviews
use one in a hundred. Texts that use kept pieces alone are tokenized as before. What is not kept is spelled with shorter
pieces: single characters of the scripts met stay, whether or not the texts have them. Or, where pieces are looked up by
name (WordPiece), it takes the vector of a piece that is kept and means nearly the same, which costs its name alone.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.errors import CapabilityError
from penjing.models.tokenizer import METASPACE

_CONTINUES = "##"  # what WordPiece puts before pieces inside a word


@dataclass(frozen=True)
class Pruned:
    """A smaller tokenizer.

    Args:
        values: the content of its `tokenizer.json`.
        kept: [V] the id that each piece had before.
        lendable: old id → piece, of those left out that could share the id of another: of two letters or more.
        lenders: old ids of such pieces among those kept.
    """

    values: dict[str, Any]
    kept: np.ndarray
    lendable: Mapping[int, str]
    lenders: frozenset[int]

    def lending(self, near: Mapping[int, int]) -> Pruned:
        """With pieces that share the id of another.

        Args:
            near: old id of a piece left out → old id of the piece that stands for it.
        """
        if not near:
            return self
        place = {int(old): new for new, old in enumerate(self.kept)}
        lent = {self.lendable[old]: place[other] for old, other in near.items()}
        model = self.values["model"]
        model = {**model, "vocab": {**model["vocab"], **lent}}
        return replace(self, values={**self.values, "model": model})


def prune_vocabulary(tokenizer_file: Path, used: Iterable[int]) -> Pruned:
    """Leave out the pieces that nobody needs.

    Args:
        tokenizer_file: a `tokenizer.json` with a WordPiece, Unigram or BPE model.
        used: ids that occur in the texts.

    Raises:
        CapabilityError: a tokenizer of another kind.
    """
    values: dict[str, Any] = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    model = values["model"]
    if model.get("type") not in {"WordPiece", "Unigram", "BPE"}:
        raise CapabilityError(
            f"the vocabulary of a {model.get('type')!r} tokenizer cannot be pruned",
            where=str(tokenizer_file),
            expected="WordPiece, Unigram or BPE",
        )
    pieces = pieces_of(model)
    special = {int(token["id"]): str(token["content"]) for token in values.get("added_tokens", [])}
    names = {**dict(enumerate(pieces)), **special}
    wanted = {int(token) for token in used} | special.keys()
    scripts = {script_of(char) for token in wanted - special.keys() for char in _spelled(names[token])}
    for token, piece in enumerate(pieces):
        spelled = _spelled(piece)
        # A lone mark of a word's beginning is needed wherever the piece behind it is a single character.
        # Nor do training rows say which digits and signs others will have.
        if not spelled or (len(spelled) == 1 and (spelled.isascii() or script_of(spelled) in scripts)):
            wanted.add(token)
    if "unk_id" in model and model["unk_id"] is not None:
        wanted.add(int(model["unk_id"]))
    if model["type"] == "BPE":
        wanted |= _parts(model, names, wanted)
    kept = np.array(sorted(wanted), np.int64)
    words = {i: piece for i, piece in names.items() if len(_word(piece)) > 1} if model["type"] == "WordPiece" else {}
    lendable = {i: piece for i, piece in words.items() if i not in wanted}
    return Pruned(_renumbered(values, names, kept), kept, lendable, frozenset(words.keys() - lendable.keys()))


def pieces_of(model: dict[str, Any]) -> list[str]:
    """[V] pieces by id; those that share the id of another are named behind it, and left out."""
    if isinstance(model["vocab"], list):  # Unigram; older files of WordPiece do not name their kind
        return [piece for piece, _ in model["vocab"]]
    places: dict[int, str] = {}
    for piece, place in model["vocab"].items():
        places.setdefault(place, piece)
    return [places.get(place, "") for place in range(max(places) + 1)]


def _spelled(piece: str) -> str:
    return piece.removeprefix(_CONTINUES).replace(METASPACE, "")


def _word(piece: str) -> str:
    """The letters of a piece that is nothing but letters and digits; else nothing."""
    word = piece.removeprefix(_CONTINUES)
    return word if word.isalnum() else ""


def script_of(char: str) -> str:
    """The first word of a character's name, which is its script (LATIN, CJK, CYRILLIC), or its category."""
    if not char.isalpha():
        return unicodedata.category(char)
    return unicodedata.name(char, "").partition(" ")[0]


def _parts(model: dict[str, Any], names: dict[int, str], wanted: set[int]) -> set[int]:
    """The pieces that these are merged from, and those they are merged from in turn."""
    origin = {first + second: (first, second) for first, second in map(_pair, model["merges"])}
    found: set[str] = set()
    waiting = [names[token] for token in wanted]
    while waiting:
        for part in origin.get(waiting.pop(), ()):
            if part not in found:
                found.add(part)
                waiting.append(part)
    return {model["vocab"][piece] for piece in found}


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _renumbered(values: dict[str, Any], names: dict[int, str], kept: np.ndarray) -> dict[str, Any]:
    """The same tokenizer with the kept pieces alone, numbered in their old order."""
    place = {int(old): new for new, old in enumerate(kept)}
    model = dict(values["model"])
    if model["type"] == "Unigram":
        # A token that was added behind the vocabulary has a place in it now; it is found by its text, as before.
        least = min(score for _, score in model["vocab"])
        vocabulary = model["vocab"]
        model["vocab"] = [vocabulary[i] if i < len(vocabulary) else [names[i], least] for i in map(int, kept)]
        if model.get("unk_id") is not None:
            model["unk_id"] = place[int(model["unk_id"])]
    else:
        named = {names[int(old)]: new for new, old in enumerate(kept)}
        shared = {piece: place[old] for piece, old in model["vocab"].items() if old in place and piece not in named}
        model["vocab"] = named | shared
    if model["type"] == "BPE":
        merges = [merge for merge in model["merges"] if "".join(_pair(merge)) in model["vocab"]]
        model["merges"] = [merge for merge in merges if all(part in model["vocab"] for part in _pair(merge))]
    found = {**values, "model": model, "truncation": None, "padding": None}
    found["added_tokens"] = [{**token, "id": place[int(token["id"])]} for token in values.get("added_tokens", [])]
    if values.get("post_processor") is not None:
        found["post_processor"] = _with_ids(values["post_processor"], place)
    return found


def _with_ids(part: Any, place: dict[int, int]) -> Any:
    """A post-processor with its special tokens' numbers changed: templates list them, BERT's own pairs them."""
    if isinstance(part, list):
        if len(part) == 2 and isinstance(part[0], str) and isinstance(part[1], int):
            return [part[0], place[part[1]]]
        return [_with_ids(item, place) for item in part]
    if isinstance(part, dict):
        return {
            name: [place[i] for i in item] if name == "ids" else _with_ids(item, place) for name, item in part.items()
        }
    return part
