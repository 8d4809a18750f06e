"""Which language texts are in: Chinese, English, both, or another. By scripts and stop words, without a model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Language = Literal["zh", "en", "mixed", "other"]
_SAMPLE = 2_000
_CLEAR = 0.85
_SCRIPTS = {
    "han": re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"),
    "kana": re.compile(r"[\u3040-\u30ff]"),
    "hangul": re.compile(r"[\uac00-\ud7af\u1100-\u11ff]"),
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "foreign": re.compile(r"[\u0370-\u052f\u0590-\u06ff\u0900-\u0e7f\u10a0-\u10ff]"),
}
_WORD = re.compile(r"[a-z\u00c0-\u024f']+")
# Frequent words that few of the other languages share.
_STOP_WORDS = {
    "en": "the and of to is in that it for was you with this are have not be my i but they what will can do from",
    "fr": "le la les des et est une que dans pour pas qui sur avec je vous ce il sont au du nous mais",
    "de": "der die das und ist nicht ein eine zu den mit ich auf sich auch es im dem von wir sie aber",
    "es": "el los las que una por con para es del se lo como pero muy su al está yo más son",
    "it": "il che di non una per con sono è del della ma mi gli anche questo le si ho",
    "pt": "o que não uma para com é do da os em por mais se mas foi um as muito eu",
    "nl": "de het een en van ik niet dat die op te zijn voor met maar ook aan",
    "tr": "bir ve bu çok için de da ile ama ben ne gibi daha",
    "vi": "là và của không có cho được này với một những",
    "id": "yang dan di tidak ini itu dengan untuk ada saya dari",
    "pl": "nie się na jest że do to co jak ale w i z",
}
_STOP = {language: frozenset(words.split()) for language, words in _STOP_WORDS.items()}


@dataclass(frozen=True)
class LanguageMix:
    """Languages of a set of texts.

    Args:
        language: the language of at least 85% of the texts; mixed: Chinese and English, neither of them so frequent.
        shares: language → share of the texts with letters, most frequent first.
    """

    language: Language
    shares: dict[str, float]


def detect_language(texts: Sequence[str], seed: int = 0) -> LanguageMix:
    """The language of these texts, from at most 2,000 of them."""
    if len(texts) > _SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(texts), _SAMPLE, replace=False)
        texts = [texts[i] for i in sorted(chosen)]
    scripts = [script_of(text[:2_000]) for text in texts]
    latin = latin_language([text for text, script in zip(texts, scripts, strict=True) if script == "latin"])
    counts = Counter(latin if script == "latin" else script for script in scripts if script != "none")
    total = sum(counts.values())
    if not total:
        return LanguageMix("other", {})
    shares = {language: count / total for language, count in counts.most_common()}
    first, share = next(iter(shares.items()))
    if share >= _CLEAR:
        return LanguageMix(first if first in {"zh", "en"} else "other", shares)  # type: ignore[arg-type]
    both = shares.get("zh", 0.0) + shares.get("en", 0.0)
    return LanguageMix("mixed" if both >= _CLEAR else "other", shares)


def script_of(text: str) -> str:
    """One text: zh, latin, other, or none (no letters). A Han character weighs as much as four Latin letters."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if not any(counts.values()):
        return "none"
    if counts["kana"] > 0.1 * (counts["han"] + counts["kana"]) or counts["hangul"] > counts["han"]:
        return "other"
    if counts["foreign"] > counts["latin"] + counts["han"]:
        return "other"
    return "zh" if 4 * counts["han"] >= counts["latin"] else "latin"


def latin_language(texts: Sequence[str]) -> str:
    """Say en or other, for texts in Latin letters; texts too short to tell (product codes, names) count as English."""
    words = [word for text in texts for word in _WORD.findall(text[:2_000].lower())]
    hits = {language: sum(word in stop for word in words) for language, stop in _STOP.items()}
    best = max(hits, key=lambda language: (hits[language], language == "en"))
    return "en" if best == "en" or hits[best] < 0.02 * len(words) else "other"
