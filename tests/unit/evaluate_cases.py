"""Real predictions for the evaluation tests: scikit-learn models on data sets that come with scikit-learn."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB

from penjing.core.task import Prediction, Roles, Table, Task
from penjing.tasks.tabular import TabularClassification, TabularRegression

NUM_TRAIN, NUM_VALID = 500, 300


class Case(NamedTuple):
    """A task, labelled rows that were not trained on, and a real model's probabilities of them."""

    task: Task
    valid: Table
    test: Table
    valid_probs: np.ndarray
    test_probs: np.ndarray


@cache
def digits(model: str = "logistic") -> Case:
    """Handwritten digits: "logistic" is good and modest, "bayes" is worse and far too sure."""
    data = load_digits()
    order = np.random.default_rng(3).permutation(len(data.target))
    features, target = data.data[order], data.target[order]
    names = [f"p{i}" for i in range(features.shape[1])]
    rows = [
        dict(zip(names, map(float, x), strict=True)) | {"digit": str(y)} for x, y in zip(features, target, strict=True)
    ]
    for i, (row, x) in enumerate(zip(rows, features, strict=True)):
        row["ink"] = float(x.sum())
        row["writer"] = f"writer {i % 7}" if i % 97 else "rare writer"
    train, valid, test = np.split(np.arange(len(rows)), [NUM_TRAIN, NUM_TRAIN + NUM_VALID])
    fitted = (
        LogisticRegression(max_iter=2000, C=0.001) if model == "logistic" else GaussianNB(var_smoothing=1e-3)
    ).fit(features[train], target[train])
    task = TabularClassification.from_rows([rows[i] for i in train], Roles(features=tuple(names), label="digit"), None)
    return Case(
        task,
        _table(rows, valid, "valid"),
        _table(rows, test, "test"),
        fitted.predict_proba(features[valid]),
        fitted.predict_proba(features[test]),
    )


@cache
def diabetes() -> tuple[Task, Table, list[Prediction]]:
    """Progress of a disease a year on: a number, predicted by linear regression."""
    data = load_diabetes()
    rows = [
        dict(zip(data.feature_names, map(float, x), strict=True)) | {"progress": float(y)}
        for x, y in zip(data.data, data.target, strict=True)
    ]
    fitted = LinearRegression().fit(data.data[:300], data.target[:300])
    roles = Roles(features=tuple(data.feature_names), label="progress")
    task = TabularRegression.from_rows(rows[:300], roles, None)
    values = fitted.predict(data.data[300:])
    return task, _table(rows, np.arange(300, len(rows)), "test"), [Prediction(float(v)) for v in values]


def as_predictions(task: Task, probs: np.ndarray) -> list[Prediction]:
    """[N, C] probabilities → predictions."""
    return [Prediction(task.labels[k], float(row[k]), row) for k, row in zip(probs.argmax(axis=1), probs, strict=True)]


def _table(rows: list[dict[str, object]], index: np.ndarray, name: str) -> Table:
    return Table(rows, [f"row {i}" for i in range(len(rows))], name).take(index)
