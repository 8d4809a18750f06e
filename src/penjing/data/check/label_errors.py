"""Suspected label errors: confident learning on out-of-fold probabilities of a quick linear model.

A linear model over words and Han characters, alone and in pairs, learns two thirds of the texts and judges the rest,
three times; cleanlab finds the rows whose given label it can hardly believe (Northcutt, Jiang and Chuang, "Confident
Learning", JAIR 2021). Where a row may have several labels, whether it has each is a question of its own. Character
n-grams to length three find no more planted errors and take three times as long.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.data.check.report import MAX_EXAMPLES, Finding, Material, excerpt
from penjing.data.stratify import stratified_parts

FOLDS = 3
MAX_ROWS = 40_000
MIN_ROWS = 60
MIN_ROWS_A_CLASS = 5
MAX_CLASSES = 200
_MAX_CHARS = 400
# Rare labels are in doubt all the time: of 12,000 rows of GoEmotions with 360 sets made wrong, cleanlab by itself
# suspected 4,053, 306 of the 360 among them; with this much disagreement asked for as well, 723 and 178 (docs/log.md).
_SURE = 0.95
_HASHED_FEATURES = 2**18
_TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"


def why_not(material: Material) -> str | None:
    """Why this data cannot be searched for label errors; None when it can."""
    if material.inference.task_kind != "text-classification":
        return f"only for texts with labels, not {material.inference.task_kind}"
    labels = material.labels()
    places = _distinct(material)
    if len(places) < MIN_ROWS:
        return f"needs {MIN_ROWS} different texts, there are {len(places)}"
    if isinstance(labels[0], list):
        sets = [set(labels[i]) for i in places]
        return None if _questions(sets) else f"needs a label that {MIN_ROWS_A_CLASS} rows have and as many have not"
    names = {labels[i] for i in places}
    if not 2 <= len(names) <= MAX_CLASSES:
        return f"needs 2 to {MAX_CLASSES} classes, there are {len(names)}"
    if len(places) < MIN_ROWS_A_CLASS * len(names):
        return f"needs {MIN_ROWS_A_CLASS} rows a class on average, there are {len(places) / len(names):.1f}"
    return None


def suspects(material: Material, seed: int) -> Iterator[Finding]:
    """Labels that are probably wrong, least believable first.

    Raises:
        MissingExtraError: cleanlab or scikit-learn is not installed.
    """
    texts, labels = material.texts(), material.labels()
    places = _distinct(material)
    if len(places) > MAX_ROWS:
        places = np.sort(np.random.default_rng(seed).choice(places, MAX_ROWS, replace=False))
    words, chosen = [texts[i][:_MAX_CHARS] for i in places], [labels[i] for i in places]
    several = isinstance(chosen[0], list)
    found = (_in_sets if several else _in_labels)(words, chosen, seed)
    if not found:
        return
    share = len({row for row, _ in found}) / len(places)
    shown = [(int(places[row]), detail) for row, detail in found[:MAX_EXAMPLES]]
    yield Finding(
        "label-error",
        "warning" if share > 0.02 and not several else "info",
        f"{len(found):,} labels look wrong to a model that did not learn these rows (suspicions, not verdicts)",
        len(found),
        share,
        "look at them, least believable first, and correct what is wrong",
        material.examples([i for i, _ in shown], [f"{detail}: {excerpt(texts[i])}" for i, detail in shown]),
    )


def _distinct(material: Material) -> np.ndarray:
    """Positions of rows of different content, ascending."""
    first: dict[bytes, int] = {}
    for i, key in enumerate(material.keys()):
        first.setdefault(key, i)
    return np.array(sorted(first.values()), dtype=np.int64)


def _in_labels(texts: Sequence[str], labels: Sequence[Any], seed: int) -> list[tuple[int, str]]:
    """(position, what is suspected) where each text has one label."""
    names = sorted(set(labels))
    index = {name: i for i, name in enumerate(names)}
    given = np.array([index[label] for label in labels])
    probs_NC = out_of_fold(texts, [given], [len(names)], seed)[0]
    return [
        (i, f"labelled {names[given[i]]}, looks like {names[int(probs_NC[i].argmax())]} ({probs_NC[i].max():.0%})")
        for i in rank_label_issues(given, probs_NC).tolist()
    ]


def _in_sets(texts: Sequence[str], labels: Sequence[Any], seed: int) -> list[tuple[int, str]]:
    """The same where a text may have several labels, or none; a text may be suspected for more than one."""
    sets = [set(one) for one in labels]
    names = _questions(sets)
    given_KN = [np.array([int(name in one) for one in sets]) for name in names]
    found: list[tuple[float, int, str]] = []
    for name, given, probs_NC in zip(
        names, given_KN, out_of_fold(texts, given_KN, [2] * len(names), seed), strict=True
    ):
        for i in rank_label_issues(given, probs_NC).tolist():
            believed = float(probs_NC[i, given[i]])
            if believed <= 1 - _SURE:
                said = ", ".join(sorted(map(str, sets[i]))) or "with nothing"
                verb = "did not apply" if given[i] else "applied"
                found.append((believed, i, f"labelled {said}, looks as if {name} {verb} ({probs_NC[i, 1]:.0%})"))
    return [(i, detail) for _, i, detail in sorted(found)]


def _questions(sets: Sequence[set[Any]]) -> list[Any]:
    """Labels that enough rows have, and enough have not, for a model to learn which; the commonest of too many."""
    counts = Counter(name for one in sets for name in one)
    least, most = MIN_ROWS_A_CLASS, len(sets) - MIN_ROWS_A_CLASS
    return sorted(name for name, count in counts.most_common(MAX_CLASSES) if least <= count <= most)


def out_of_fold(
    texts: Sequence[str], questions: Sequence[np.ndarray], num_classes: Sequence[int], seed: int
) -> list[np.ndarray]:
    """[N, C] probabilities of each text and question, from models that have not seen the text.

    Args:
        texts: different from each other.
        questions: [N] class indices, for each question asked of the texts.
        num_classes: C of each.
        seed: of the folds.
    """
    try:
        from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
        from sklearn.linear_model import SGDClassifier
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    hashing = HashingVectorizer(
        token_pattern=_TOKEN, ngram_range=(1, 2), n_features=_HASHED_FEATURES, alternate_sign=False, norm=None
    )
    counts = TfidfTransformer(sublinear_tf=True).fit_transform(hashing.transform(texts))
    if len(questions) == 1:
        kinds = [[str(answer)] for answer in questions[0]]
    else:
        kinds = [[str(k) for k in np.flatnonzero(answers)] for answers in np.stack(questions, axis=1)]
    rows, shares = np.arange(len(texts)), [1 / FOLDS] * (FOLDS - 1)
    parts = stratified_parts(kinds, rows, shares, np.random.default_rng(seed))
    found = [np.full((len(texts), classes), 1e-6) for classes in num_classes]
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        learned, judged = counts[learn], counts[judge]
        for given, probs_NC in zip(questions, found, strict=True):
            if len(np.unique(given[learn])) < 2:  # nothing to learn: the rows are believed
                probs_NC[judge, given[judge]] = 1.0
                continue
            model = SGDClassifier(loss="log_loss", alpha=3e-5, max_iter=6, tol=None, average=True, random_state=seed)
            model.fit(learned, given[learn])
            probs_NC[np.ix_(judge, model.classes_)] = model.predict_proba(judged)
    return [probs_NC / probs_NC.sum(axis=1, keepdims=True) for probs_NC in found]


def rank_label_issues(given: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """Positions of suspected rows, least believable first."""
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "train") from None
    with warnings.catch_warnings():
        # cleanlab warns about classes it cannot judge; `small-class` says the same with a next step.
        warnings.simplefilter("ignore", UserWarning)
        found = find_label_issues(given, probs, return_indices_ranked_by="self_confidence", filter_by="both", n_jobs=1)
    return np.array(found, dtype=np.int64)
