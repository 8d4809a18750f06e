"""What can be learned with no pretrained knowledge, estimated by TF-IDF and a linear model.

A probe on the embeddings of a random encoder says nothing of what that encoder will learn, so the candidate `scratch`
is judged by a stand-in: both know nothing but the training rows. The stand-in is usually the better of the two where
rows are few; `calibration.json` says by how much they differed.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.core.task import Prediction, Task
from penjing.models.scratch import scripts_of
from penjing.select.probe import Predictor
from penjing.select.sample import Pool

MAX_FEATURES = 100_000
MAX_CHARS = 5_000
_STRENGTHS = {"classes": 10.0, "numbers": 1.0}


def stand_in_predictor(task: Task, pool: Pool) -> Predictor:
    """Fit TF-IDF and a linear model on some rows, and predict others with it through the task itself.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    columns = [name for name in (task.roles.text, task.roles.text_pair) if name is not None]
    texts = [
        [("" if row.get(name) is None else str(row[name]))[:MAX_CHARS] for name in columns] for row in pool.table.rows
    ]
    targets = task.encode(pool.table.rows, training=True)["targets"]
    output = task.signature.outputs[0].name

    def predict(learn: np.ndarray, judge: np.ndarray) -> list[Prediction]:
        matrix = _vectors([texts[i] for i in learn], [texts[i] for i in judge])
        logits_NC = _logits(*matrix, targets[learn], max(1, len(task.labels)))
        return task.predict(lambda _: {output: logits_NC.astype(np.float32)}, {})

    return predict


def _vectors(learn: list[list[str]], judge: list[list[str]]) -> tuple[Any, Any]:
    """TF-IDF of words and pairs of words (characters up to three where texts are Chinese); pairs: of each, and both."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    flat = [text for row in learn for text in row]
    chinese = "zh" in scripts_of(flat)
    settings = {"analyzer": "char", "ngram_range": (1, 3)} if chinese else {"ngram_range": (1, 2)}
    vectorizer = TfidfVectorizer(sublinear_tf=True, max_features=MAX_FEATURES, token_pattern=r"\w+", **settings)
    if chinese:
        vectorizer.set_params(token_pattern=None)
    vectorizer.fit(flat)

    def transform(rows: list[list[str]]) -> Any:
        parts = [vectorizer.transform([row[k] for row in rows]) for k in range(len(rows[0]))]
        if len(parts) == 2:
            parts = [parts[0].multiply(parts[1]), abs(parts[0] - parts[1])]
        return hstack(parts).tocsr()

    return transform(learn), transform(judge)


def _logits(learn: Any, judge: Any, targets: np.ndarray, num_outputs: int) -> np.ndarray:
    """[M, C] scores of the judged rows, on the scale of the task's logits."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if targets.ndim == 1 and not np.issubdtype(targets.dtype, np.integer):
        return Ridge(_STRENGTHS["numbers"]).fit(learn, targets).predict(judge)[:, None]
    if targets.ndim == 2:
        return np.stack([_binary(learn, judge, column) for column in targets.T], axis=1)
    classes = np.unique(targets)
    logits_NC = np.full((judge.shape[0], num_outputs), -30.0)
    if len(classes) < 3:
        positive = _binary(learn, judge, targets == classes[-1])
        for place, sign in zip(classes, (-0.5, 0.5) if len(classes) == 2 else (1.0,), strict=True):
            logits_NC[:, place] = sign * positive
        return logits_NC
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes")  # few rows a class are no regression
        model = LogisticRegression(C=_STRENGTHS["classes"], max_iter=200).fit(learn, targets)
    logits_NC[:, classes] = model.decision_function(judge)
    return logits_NC


def _binary(learn: Any, judge: Any, target: np.ndarray) -> np.ndarray:
    """[M] log-odds of one label; constant where the learned rows agree."""
    from sklearn.linear_model import LogisticRegression

    positive = np.asarray(target) > 0.5
    if positive.all() or not positive.any():
        return np.full(judge.shape[0], 30.0 if positive.all() else -30.0)
    model = LogisticRegression(C=_STRENGTHS["classes"], max_iter=200).fit(learn, positive)
    return model.decision_function(judge)
