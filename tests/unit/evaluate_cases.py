"""Real predictions for the evaluation tests: scikit-learn models on data sets that come with scikit-learn."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB

from penjing.core.budget import Budget
from penjing.core.report import (
    Comparison,
    Compression,
    Cost,
    DataSummary,
    Difference,
    Hardware,
    McNemar,
    ModelSummary,
    Relaxation,
    Report,
    Tried,
)
from penjing.core.task import Prediction, Roles, Table, Task
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.verdict import verdicts
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


def report_of(task: Task, table: Table, predictions: list[Prediction], **rest: Any) -> Report:
    """A report of predictions, with what else is in it invented."""
    evaluation = evaluate(task, table, predictions, EvaluateConfig(resamples=100))
    return Report(
        **{
            "name": "demo",
            "task": task.kind,
            "created": "2026-01-01T00:00:00Z",
            "artifact_digest": "0" * 64,
            "model": ModelSummary(name="scikit-learn"),
            "data": DataSummary(
                fingerprint="1" * 64, rows={"train": 500, "test": len(table)}, roles={"label": "digit"}
            ),
            "evaluation": evaluation,
            "hardware": Hardware(cpu="some cpu", cores=2, logical_cores=4, ram_gb=8, flags=[], system="x", python="3"),
        }
        | rest
    )


_STUDENT, _SMALLEST = "vocabulary > distil 2x384, 4 heads, 768 inside", "vocabulary > distil 1x384, 2 heads, 384 inside"
# Name, lost points, p50 ms, p95 ms, rows a second, MB, memory in MB, on the front.
_TRIED = (
    ("as it was @ onnxruntime", 0.0, 6.4, 9.1, 251, 471.3, 812, True),
    ("as it was @ openvino", 0.0, 5.9, 8.2, 322, 471.3, 1430, True),
    ("vocabulary @ onnxruntime", 0.0, 6.3, 8.8, 256, 92.8, 402, True),
    ("vocabulary > static-int8 @ onnxruntime", 0.31, 2.6, 3.9, 811, 24.6, 311, True),
    ("vocabulary > static-int8 @ openvino", 0.42, 2.7, 4.4, 790, 24.6, 502, False),
    (f"{_STUDENT} @ onnxruntime", 0.22, 1.1, 1.6, 1904, 17.9, 238, True),
    (f"{_STUDENT} > static-int8 @ onnxruntime", 0.39, 0.62, 0.94, 4630, 9.71, 214, True),
    (f"{_STUDENT} > static-int8 @ openvino", 0.52, 0.71, 1.2, 4210, 9.71, 377, False),
    (f"{_STUDENT} > static-int8 > cascade @ onnxruntime", 0.44, 0.41, 0.98, 7390, 10.6, 219, True),
    (f"{_SMALLEST} @ onnxruntime", 1.86, 0.52, 0.81, 5120, 12.4, 209, False),
    (f"{_SMALLEST} > static-int8 @ onnxruntime", 2.07, 0.35, 0.57, 9850, 6.93, 196, True),
    ("vocabulary > distil 4xsame @ onnxruntime", 9.4, 2.3, 3.3, 880, 31.0, 266, False),
)  # fmt: skip


def compressed(
    report: Report, budget: Budget | None = None, *, parent: str = "runs-shop", relax: bool = False
) -> Report:
    """A report as if its model were made from a better one, with invented figures of twelve that were tried."""
    evaluation = report.evaluation
    budget = budget or Budget(drop=1, p95_ms=2, rows_per_s=1500, size_mb=15)
    cost = Cost(p50_ms=0.42, p95_ms=0.97, rows_per_s=7210, load_ms=310, size_mb=10.6, ram_mb=221, train_minutes=18.4)
    metrics = {}
    for name, metric in evaluation.metrics.items():
        sign = -1 if metric.higher_is_better else 1
        low, high = sorted((sign * -0.0008, sign * 0.0087))
        metrics[name] = Difference(
            percent=metric.percent, a=metric.value - sign * 0.0038, b=metric.value, difference=sign * 0.0038, low=low,
            high=high, p_value=0.14, outcome="undecided", rows_to_settle=4100,
        )  # fmt: skip
    primary = evaluation.metrics[evaluation.primary]
    comparison = Comparison(
        a=parent, b=report.name, n=primary.n, primary=evaluation.primary, metrics=metrics,
        mcnemar=McNemar(only_a_right=14, only_b_right=10, p_value=0.54),
    )  # fmt: skip
    scale = (100 if primary.percent else 1) * (1 if primary.higher_is_better else -1)
    top = primary.value + 0.4 / scale
    tried = [
        Tried(
            name=name.replace("runs-shop", parent), value=top - lost / scale, lost=lost, p50_ms=p50, p95_ms=p95,
            rows_per_s=rate, size_mb=size, ram_mb=ram, on_front=front, uncompressed=name.startswith("as it was"),
            fits=not relax and lost <= 1 and p95 <= 2 and rate >= 1500 and size <= 15, chosen="cascade" in name,
        )
        for name, lost, p50, p95, rate, size, ram, front in _TRIED
    ]  # fmt: skip
    compression = Compression(
        parent=parent,
        parent_digest="a" * 64,
        parent_cost=Cost(p50_ms=5.9, p95_ms=8.2, rows_per_s=318, load_ms=1900, size_mb=471.3, ram_mb=1430),
        steps=["vocabulary", "distil 2x384, 4 heads, 768 inside", "static-int8", "cascade"],
        minutes=18.4,
        early=0.57,
        tried=tried,
        relax=[Relaxation(constraint="p95_ms", limit=0.5, reached=0.981)] if relax else [],
    )
    return report.model_copy(
        update={
            "cost": cost,
            "comparison": comparison,
            "compression": compression,
            "verdicts": verdicts(budget, evaluation, cost, comparison),
        }
    )
