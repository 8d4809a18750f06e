"""Suspected label errors: confident learning on out-of-fold probabilities of a quick linear model.

A linear model over words and Han characters, alone and in pairs, learns two thirds of the texts and judges the rest,
three times; cleanlab finds the rows whose given label it can hardly believe (Northcutt, Jiang and Chuang, "Confident
Learning", JAIR 2021), or whose set of labels, each label being a question of its own. Character n-grams to length three
find no more planted errors and take three times as long.
"""

from __future__ import annotations

import warnings
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
_HASHED_FEATURES = 2**18
# Sets of labels with rare ones are in doubt all the time: of 12,000 rows of GoEmotions with 360 errors planted, 4,053
# were suspected, 306 of them planted; with this much disagreement asked for, 723 and 178.
_SURE = 0.95
_TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"


def why_not(material: Material) -> str | None:
    """Why this data cannot be searched for label errors; None when it can."""
    if material.inference.task_kind != "text-classification":
        return f"only for texts with labels, not {material.inference.task_kind}"
    sets = _sets(material.labels())
    if len(sets) < MIN_ROWS:
        return f"needs {MIN_ROWS} rows, there are {len(sets)}"
    names = {name for one in sets for name in one}
    if not 2 <= len(names) <= MAX_CLASSES:
        return f"needs 2 to {MAX_CLASSES} classes, there are {len(names)}"
    if len(sets) < MIN_ROWS_A_CLASS * len(names):
        return f"needs {MIN_ROWS_A_CLASS} rows a class on average, there are {len(sets) / len(names):.1f}"
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
    several = isinstance(labels[0], list)
    sets = _sets([labels[i] for i in places])
    names = sorted({name for one in sets for name in one})
    given_NC = np.array([[name in one for name in names] for one in sets])
    probs_NC = out_of_fold([texts[i][:_MAX_CHARS] for i in places], given_NC, several=several, seed=seed)
    ranked = rank_label_issues(given_NC, probs_NC, several=several)
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
                f"labelled {', '.join(sorted(sets[i])) or 'with nothing'}, "
                f"{_looks_like(given_NC[i], probs_NC[i], names, several=several)}: {excerpt(texts[places[i]])}"
                for i in shown
            ],
        ),
    )


def _sets(labels: Sequence[Any]) -> list[set[str]]:
    """The labels of each row, where it may have several and where it has one."""
    return [set(one) if isinstance(one, list) else {one} for one in labels]


def _looks_like(given_C: np.ndarray, probs_C: np.ndarray, names: Sequence[str], *, several: bool) -> str:
    """What the model says instead: the likeliest class, or the label it disagrees with most."""
    if not several:
        return f"looks like {names[int(probs_C.argmax())]} ({probs_C.max():.0%})"
    k = int(np.abs(given_C - probs_C).argmax())
    return f"looks as if {names[k]} {'did not apply' if given_C[k] else 'applied'} ({probs_C[k]:.0%})"


def out_of_fold(texts: Sequence[str], given_NC: np.ndarray, *, several: bool, seed: int) -> np.ndarray:
    """[N, C] probabilities of each text from a model that has not seen it.

    Args:
        texts: different from each other.
        given_NC: [N, C] whether a row has a label.
        several: whether it may have several, or none: each label then has a probability of its own.
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
    rows = np.arange(len(texts))
    kinds = [[str(k) for k in np.flatnonzero(has_C)] for has_C in given_NC]
    parts = stratified_parts(kinds, rows, [1 / FOLDS] * (FOLDS - 1), np.random.default_rng(seed))
    # Several labels are as many questions; one label of many is one question.
    questions = [given_NC[:, k].astype(int) for k in range(given_NC.shape[1])] if several else [given_NC.argmax(1)]
    probs_NC = np.full(given_NC.shape, 1e-6)
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        for k, answer_N in enumerate(questions):
            if len(np.unique(answer_N[learn])) < 2:  # a label of so few rows that none of them is learned from
                continue
            model = SGDClassifier(loss="log_loss", alpha=3e-5, max_iter=6, tol=None, average=True, random_state=seed)
            found = model.fit(counts[learn], answer_N[learn]).predict_proba(counts[judge])
            columns, chosen = ([k], found[:, 1:]) if several else (model.classes_, found)
            probs_NC[np.ix_(judge, columns)] = chosen
    return probs_NC if several else probs_NC / probs_NC.sum(axis=1, keepdims=True)


def rank_label_issues(given_NC: np.ndarray, probs_NC: np.ndarray, *, several: bool) -> np.ndarray:
    """Positions of suspected rows, least believable first; shapes as in `out_of_fold`."""
    try:
        from cleanlab.filter import find_label_issues
        from cleanlab.multilabel_classification.filter import find_label_issues as find_set_issues
    except ImportError:
        raise MissingExtraError("cleanlab", "train") from None
    options = {"return_indices_ranked_by": "self_confidence", "filter_by": "both", "n_jobs": 1}
    with warnings.catch_warnings():
        # cleanlab warns about classes it cannot judge; `small-class` says the same with a next step.
        warnings.simplefilter("ignore", UserWarning)
        if several:
            suspected = find_set_issues([np.flatnonzero(has_C).tolist() for has_C in given_NC], probs_NC, **options)
            found = [i for i in suspected if np.abs(given_NC[i] - probs_NC[i]).max() >= _SURE]
        else:
            found = find_label_issues(given_NC.argmax(1), probs_NC, **options)
    return np.array(found, dtype=np.int64)
