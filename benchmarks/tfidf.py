"""The baseline: TF-IDF of character n-grams and a linear model, tuned by validation. No word segmentation needed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

NGRAMS = ((1, 1), (1, 2), (1, 3), (2, 3), (1, 4))
MIN_ROWS = (1, 2, 4)
SUBLINEAR = (True, False)
STRENGTHS = {"LinearSVC": (0.05, 0.1, 0.25, 0.5, 1.0, 2.0), "LogisticRegression": (1.0, 3.0, 10.0, 30.0, 100.0)}
VALID_SHARE = 0.1
_PAIR_NGRAMS = ((1, 1), (2, 2), (3, 3))
Matrix = sparse.csr_matrix


@dataclass(frozen=True)
class Settings:
    """One point of the grid.

    Args:
        ngrams: shortest and longest character n-gram.
        min_rows: rows an n-gram must occur in.
        sublinear: whether counts enter as 1 + log.
        model: "LinearSVC" or "LogisticRegression".
        strength: its C.
    """

    ngrams: tuple[int, int]
    min_rows: int
    sublinear: bool
    model: str
    strength: float


def tuned_tfidf(
    train: Sequence[str], labels: Sequence[str], test: Sequence[str], *, seed: int = 42, quick: bool = False
) -> dict[str, Any]:
    """Choose settings on a tenth of the training texts, fit on all of them, predict the test texts.

    Every vectoriser is tried with LinearSVC; the three best also with logistic regression.

    Args:
        train: texts.
        labels: one a text.
        test: texts.
        seed: of the inner split.
        quick: the first vectorisers only, for smoke runs.

    Returns:
        predictions, settings, valid_accuracy, tried (number of fits) and seconds.
    """
    begun = time.perf_counter()
    fit, held, fit_labels, held_labels = train_test_split(
        list(train), list(labels), test_size=VALID_SHARE, random_state=seed, stratify=labels
    )
    scored: list[tuple[float, Settings]] = []
    for ngrams in NGRAMS[:2] if quick else NGRAMS:
        for settings, inputs in _vectorised(ngrams, fit, held):
            scored += _scores(settings, "LinearSVC", *inputs, fit_labels, held_labels)
    best = sorted(scored, key=lambda pair: -pair[0])
    leaders = list(dict.fromkeys((s.ngrams, s.min_rows, s.sublinear) for _, s in best))[:3]
    for ngrams in {leader[0] for leader in leaders}:
        for settings, inputs in _vectorised(ngrams, fit, held):
            if (settings.ngrams, settings.min_rows, settings.sublinear) in leaders:
                scored += _scores(settings, "LogisticRegression", *inputs, fit_labels, held_labels)
    # The first of equals, in the order tried.
    accuracy, chosen = max(scored, key=lambda pair: pair[0])
    vectorizer = TfidfVectorizer(
        analyzer="char", ngram_range=chosen.ngrams, min_df=chosen.min_rows, sublinear_tf=chosen.sublinear
    )
    model = linear(chosen.model, chosen.strength).fit(vectorizer.fit_transform(train), labels)
    return {
        "predictions": [str(label) for label in model.predict(vectorizer.transform(test))],
        "settings": asdict(chosen),
        "valid_accuracy": accuracy,
        "tried": len(scored),
        "seconds": round(time.perf_counter() - begun, 1),
    }


def linear(name: str, strength: float) -> LinearSVC | LogisticRegression:
    """A linear classifier by name."""
    if name == "LinearSVC":
        return LinearSVC(C=strength)
    return LogisticRegression(C=strength, max_iter=2000)


def _vectorised(
    ngrams: tuple[int, int], fit: Sequence[str], held: Sequence[str]
) -> Iterator[tuple[Settings, tuple[Matrix, Matrix]]]:
    """Counting is the slow part, so it is done once for all variants of one n-gram range."""
    counter = CountVectorizer(analyzer="char", ngram_range=ngrams)
    fit_counts, held_counts = counter.fit_transform(fit), counter.transform(held)
    rows = np.asarray((fit_counts > 0).sum(axis=0)).ravel()
    for min_rows in MIN_ROWS:
        kept = np.flatnonzero(rows >= min_rows)
        for sublinear in SUBLINEAR:
            weights = TfidfTransformer(sublinear_tf=sublinear)
            inputs = weights.fit_transform(fit_counts[:, kept]), weights.transform(held_counts[:, kept])
            yield Settings(ngrams, min_rows, sublinear, "", 0.0), inputs


def _scores(
    settings: Settings, model: str, fit: Matrix, held: Matrix, fit_labels: Sequence[str], held_labels: Sequence[str]
) -> list[tuple[float, Settings]]:
    truth = np.asarray(held_labels)
    scored = []
    for strength in STRENGTHS[model]:
        right = linear(model, strength).fit(fit, fit_labels).predict(held) == truth
        point = Settings(settings.ngrams, settings.min_rows, settings.sublinear, model, strength)
        scored.append((float(right.mean()), point))
    return scored


Pair = tuple[str, str]


def tuned_pairs(
    train: Sequence[Pair], labels: Sequence[str], test: Sequence[Pair], *, seed: int = 42, quick: bool = False
) -> dict[str, Any]:
    """The same for pairs: where the TF-IDF vectors of the two texts agree and differ, and measures of their overlap.

    Three sets of features are tried (overlap; TF-IDF; both), each with both linear models.

    Returns:
        As `tuned_tfidf`.
    """
    begun = time.perf_counter()
    fit, held, fit_labels, held_labels = train_test_split(
        list(train), list(labels), test_size=VALID_SHARE, random_state=seed, stratify=labels
    )
    truth, best, tried = np.asarray(held_labels), (-1.0, ("", (1, 1), "", 0.0)), 0
    for ngrams in ((1, 1),) if quick else ((1, 1), (1, 2), (1, 3)):
        inputs = pair_features(ngrams, fit, held)
        for kind in ("overlap", "tfidf", "both") if ngrams == (1, 1) else ("tfidf", "both"):
            fit_inputs, held_inputs = (part[kind] for part in inputs)
            for name, strengths in STRENGTHS.items():
                for strength in strengths:
                    right = linear(name, strength).fit(fit_inputs, fit_labels).predict(held_inputs) == truth
                    best, tried = max(best, (float(right.mean()), (kind, ngrams, name, strength))), tried + 1
    accuracy, (kind, ngrams, name, strength) = best
    all_inputs, test_inputs = pair_features(ngrams, train, test)
    model = linear(name, strength).fit(all_inputs[kind], labels)
    return {
        "predictions": [str(label) for label in model.predict(test_inputs[kind])],
        "settings": {"features": kind, "ngrams": ngrams, "model": name, "strength": strength},
        "valid_accuracy": accuracy,
        "tried": tried,
        "seconds": round(time.perf_counter() - begun, 1),
    }


def pair_features(
    ngrams: tuple[int, int], fit: Sequence[Pair], held: Sequence[Pair]
) -> tuple[dict[str, Matrix], dict[str, Matrix]]:
    """Sparse features of both parts, fitted on the first: "overlap" (dense measures), "tfidf" and "both"."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=ngrams, min_df=2, sublinear_tf=True)
    vectorizer.fit([text for pair in fit for text in pair])
    fit_overlap, held_overlap = overlap(fit, fit), overlap(fit, held)
    mean, spread = fit_overlap.mean(axis=0), fit_overlap.std(axis=0) + 1e-9
    found = []
    for pairs, measures in ((fit, fit_overlap), (held, held_overlap)):
        left, right = (vectorizer.transform([pair[side] for pair in pairs]) for side in (0, 1))
        dense = sparse.csr_matrix((measures - mean) / spread)
        terms = sparse.hstack([abs(left - right), left.multiply(right)]).tocsr()
        found.append({"overlap": dense, "tfidf": terms, "both": sparse.hstack([dense, terms]).tocsr()})
    return found[0], found[1]


def overlap(fit: Sequence[Pair], pairs: Sequence[Pair]) -> np.ndarray:
    """[N, F] measures of likeness: TF-IDF cosine and Jaccard of 1-, 2- and 3-grams, matched blocks, lengths."""
    columns = []
    for ngrams in _PAIR_NGRAMS:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=ngrams)
        vectorizer.fit([text for pair in fit for text in pair])
        left, right = (vectorizer.transform([pair[side] for pair in pairs]) for side in (0, 1))
        columns.append(np.asarray(left.multiply(right).sum(axis=1)).ravel())
        columns.append(np.array([_jaccard(a, b, ngrams[0]) for a, b in pairs]))
    columns.append(np.array([SequenceMatcher(None, a, b, autojunk=False).ratio() for a, b in pairs]))
    lengths = np.array([[len(a), len(b)] for a, b in pairs], np.float64)
    columns += [np.abs(lengths[:, 0] - lengths[:, 1]), lengths.min(axis=1) / np.maximum(lengths.max(axis=1), 1)]
    return np.stack(columns, axis=1)


def _jaccard(a: str, b: str, size: int) -> float:
    left, right = ({text[i : i + size] for i in range(len(text) - size + 1)} for text in (a, b))
    return len(left & right) / max(1, len(left | right))
