"""Suspected label errors: confident learning on out-of-fold probabilities of a quick linear model.

A linear model over words and Han characters, alone and in pairs, learns two thirds of the texts and judges the rest,
three times; cleanlab finds the rows whose given label it can hardly believe (Northcutt, Jiang and Chuang, "Confident
Learning", JAIR 2021). Character n-grams to length three find no more planted errors and take three times as long.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

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
_HASHED_FEATURES = 2**18
_TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"


def why_not(material: Material) -> str | None:
    """Why this data cannot be searched for label errors; None when it can."""
    if material.inference.task_kind != "text-classification":
        return f"only for texts with one label each, not {material.inference.task_kind}"
    labels = material.labels()
    if labels and isinstance(labels[0], list):
        return "only for texts with one label each"
    if len(labels) < MIN_ROWS:
        return f"needs {MIN_ROWS} rows, there are {len(labels)}"
    if not 2 <= len(set(labels)) <= MAX_CLASSES:
        return f"needs 2 to {MAX_CLASSES} classes, there are {len(set(labels))}"
    if len(labels) < MIN_ROWS_A_CLASS * len(set(labels)):
        return f"needs {MIN_ROWS_A_CLASS} rows a class on average, there are {len(labels) / len(set(labels)):.1f}"
    return None


def suspects(material: Material, seed: int) -> Iterator[Finding]:
    """Rows whose label is probably wrong, least believable first.

    Raises:
        MissingExtraError: cleanlab or scikit-learn is not installed.
    """
    texts, labels = material.texts(), material.labels()
    first: dict[bytes, int] = {}
    for i, key in enumerate(material.keys()):
        first.setdefault(key, i)
    places = np.array(sorted(first.values()))
    if len(places) > MAX_ROWS:
        places = np.sort(np.random.default_rng(seed).choice(places, MAX_ROWS, replace=False))
    names = sorted({labels[i] for i in places})
    index = {name: i for i, name in enumerate(names)}
    given = np.array([index[labels[i]] for i in places])
    probs = out_of_fold([texts[i][:_MAX_CHARS] for i in places], given, len(names), seed)
    ranked = rank_label_issues(given, probs)
    if not len(ranked):
        return
    share = len(ranked) / len(places)
    shown = ranked[:MAX_EXAMPLES]
    yield Finding(
        "label-error",
        "warning" if share > 0.02 else "info",
        f"{len(ranked):,} labels look wrong to a model that did not learn these rows (suspicions, not verdicts)",
        len(ranked),
        share,
        "look at them, least believable first, and correct what is wrong",
        material.examples(
            [int(places[i]) for i in shown],
            [
                f"labelled {names[given[i]]}, looks like {names[int(probs[i].argmax())]} "
                f"({probs[i].max():.0%}): {excerpt(texts[places[i]])}"
                for i in shown
            ],
        ),
    )


def out_of_fold(texts: Sequence[str], given: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """[N, C] probabilities of each text from a model that has not seen it.

    Args:
        texts: different from each other.
        given: [N] class indices.
        num_classes: C.
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
    parts = stratified_parts(
        [[str(label)] for label in given], np.arange(len(given)), [1 / FOLDS] * (FOLDS - 1), np.random.default_rng(seed)
    )
    probs = np.full((len(texts), num_classes), 1e-6)
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        model = SGDClassifier(loss="log_loss", alpha=3e-5, max_iter=6, tol=None, average=True, random_state=seed)
        model.fit(counts[learn], given[learn])
        probs[np.ix_(judge, model.classes_)] = model.predict_proba(counts[judge])
    normalised: np.ndarray = probs / probs.sum(axis=1, keepdims=True)
    return normalised


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
