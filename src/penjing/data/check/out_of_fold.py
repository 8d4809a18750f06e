"""What quick models believe of rows they have not learned: two thirds are learned and the rest is judged, three times.

Texts have a linear model over words and Han characters, alone and in pairs; character n-grams to length three find no
more planted errors and take three times as long. Tables have boosted trees of scikit-learn, few and small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.data.numbers import MISSING_NUMBER, is_missing, parse_number
from penjing.data.stratify import stratified_parts

FOLDS = 3
_HASHED_FEATURES = 2**18
_TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+"
# A round of boosting grows a tree a class.
_ROUNDS, _MIN_ROUNDS, _TREES = 60, 15, 300
_LEAVES = 15
# Cells × trees that take two or three seconds; more rows are not worth more time here.
_WORK = 100_000_000
_MAX_CATEGORIES = 40
_GREATEST = 1e30  # the mean of two typing errors of 1e308 would be infinite


def text_probs(
    texts: Sequence[str], questions: Sequence[np.ndarray], num_classes: Sequence[int], seed: int
) -> list[np.ndarray]:
    """[N, C] probabilities of each text and question, from models that have not seen the text.

    Args:
        texts: different from each other.
        questions: [N] class indices, for each question asked of the texts.
        num_classes: C of each.
        seed: of the folds.

    Raises:
        MissingExtraError: scikit-learn is not installed.
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

    def model() -> Any:
        return SGDClassifier(loss="log_loss", alpha=3e-5, max_iter=6, tol=None, average=True, random_state=seed)

    return _out_of_fold(counts, questions, num_classes, model, seed)


def table_probs(matrix: np.ndarray, nominal: np.ndarray, given: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """[N, C] probabilities of each row of a table, from trees that have not seen the row.

    Args:
        matrix: [N, F], see `encode`.
        nominal: [F] bool.
        given: [N] class indices.
        num_classes: C.
        seed: of the folds.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    rounds = _rounds(num_classes)

    def model() -> Any:
        return HistGradientBoostingClassifier(
            max_iter=rounds,
            learning_rate=min(0.3, 0.1 * _ROUNDS / rounds),  # fewer rounds have to go as far
            max_leaf_nodes=_LEAVES,
            max_bins=63,
            early_stopping=False,
            categorical_features=nominal if nominal.any() else None,
            random_state=seed,
        )

    # Threads wait for each other at every small step: on a busy machine two took six times as long as one.
    with threadpool_limits(1, user_api="openmp"):
        return _out_of_fold(matrix, [given], [num_classes], model, seed)[0]


def discrimination(given: np.ndarray, probs_NC: np.ndarray) -> float:
    """By how much a class is likelier where it is given than elsewhere, mean over classes (Tjur, 2009); 0: by nothing.

    Args:
        given: [N] class indices.
        probs_NC: [N, C] probabilities.
    """
    classes = np.unique(given)
    if len(classes) < 2:
        return 0.0
    return float(np.mean([probs_NC[given == c, c].mean() - probs_NC[given != c, c].mean() for c in classes]))


def rows_in_time(num_features: int, num_classes: int) -> int:
    """How many rows of a table can be learned and judged in some seconds."""
    trees = _rounds(num_classes) * (1 if num_classes == 2 else num_classes)
    return max(1_000, _WORK // (trees * max(1, num_features)))


def _rounds(num_classes: int) -> int:
    return min(_ROUNDS, max(_MIN_ROUNDS, _TREES // num_classes))


def encode(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Columns of a table as numbers: [N, F], and [F], which of them are nominal.

    A column is numeric where every cell that is not missing is a number, as when tables are learned. Others become
    ranks in the order of the alphabet, which is that of time for ISO dates; few different values are nominal. What is
    missing lies below all else: trees of scikit-learn know gaps, but not a column whose known cells are all judged.
    """
    columns, nominal = [], []
    for name in names:
        values = [row.get(name) for row in rows]
        numbers = [None if is_missing(value, MISSING_NUMBER) else parse_number(value) for value in values]
        if all(n is not None or is_missing(v, MISSING_NUMBER) for n, v in zip(numbers, values, strict=True)):
            column = np.array([-np.inf if number is None else number for number in numbers])
            columns.append(np.clip(column, -_GREATEST, _GREATEST))
            nominal.append(False)
            continue
        words = ["" if is_missing(value) else str(value).strip() for value in values]
        rank = {word: i for i, word in enumerate(sorted(set(words)))}
        columns.append(np.array([float(rank[word]) for word in words]))
        nominal.append(len(rank) <= _MAX_CATEGORIES)
    return np.stack(columns, axis=1), np.array(nominal)


def _out_of_fold(
    inputs: Any, questions: Sequence[np.ndarray], num_classes: Sequence[int], model: Callable[[], Any], seed: int
) -> list[np.ndarray]:
    """The same folds for every question; `inputs` has a row a row of data."""
    num_rows = len(questions[0])
    if len(questions) == 1:
        kinds = [[str(answer)] for answer in questions[0]]
    else:
        kinds = [[str(k) for k in np.flatnonzero(answers)] for answers in np.stack(questions, axis=1)]
    shares = [1 / FOLDS] * (FOLDS - 1)
    parts = stratified_parts(kinds, np.arange(num_rows), shares, np.random.default_rng(seed))
    found = [np.full((num_rows, classes), 1e-6) for classes in num_classes]
    for fold in range(FOLDS):
        learn, judge = np.flatnonzero(parts != fold), np.flatnonzero(parts == fold)
        learned, judged = inputs[learn], inputs[judge]
        for given, probs_NC in zip(questions, found, strict=True):
            if len(np.unique(given[learn])) < 2:  # nothing to learn: the rows are believed
                probs_NC[judge, given[judge]] = 1.0
                continue
            fitted = model().fit(learned, given[learn])
            probs_NC[np.ix_(judge, fitted.classes_)] = fitted.predict_proba(judged)
    return [probs_NC / probs_NC.sum(axis=1, keepdims=True) for probs_NC in found]
