"""One label a row: softmax, arg max, and the metrics of multi-class and binary classification.

Labels that the training rows did not have cannot be predicted. Scoring counts each row that carries one as an error,
and each such label as a class of its own whose F1 is 0, as scikit-learn does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from penjing.core.errors import DataError
from penjing.core.task import Metric, Prediction, Row, Stats
from penjing.tasks.metrics import area_under_roc, mean, ratio
from penjing.tasks.text_labels import label_names, sort_labels

# The shares of classes have this fraction of the greatest possible entropy, or more: accuracy can be trusted. For two
# classes it means that the rarer one has 28% of the rows.
BALANCED_EVENNESS = 0.85
NUM_TOP = 3
# A probability of 0 for the true class would make one row's log loss infinite.
MIN_PROBABILITY = 1e-7
_METRICS = {
    "accuracy": Metric(share=True),
    "macro_f1": Metric(),
    "mcc": Metric(percent=False),
    "log_loss": Metric(higher_is_better=False, percent=False),
    "macro_log_loss": Metric(higher_is_better=False, percent=False),
}
_BINARY_METRICS = {"auc": Metric(), "precision": Metric(), "recall": Metric(), "f1": Metric()}


@dataclass(frozen=True)
class SingleLabel:
    """What a row's logits mean when it has exactly one label.

    Args:
        labels: [C] class names; of two, the last is the positive one ("1", "yes", "positive", "true" sort last).
        balanced: whether accuracy is a fair summary of the training classes.
        temperature: logits are divided by it before the softmax.
    """

    calibration: ClassVar[Literal["softmax"]] = "softmax"
    target_dtype: ClassVar[str] = "int64"

    labels: tuple[str, ...]
    balanced: bool
    temperature: float = 1.0

    @property
    def metrics(self) -> dict[str, Metric]:
        """What `aggregate` returns."""
        return _METRICS | (_BINARY_METRICS if len(self.labels) == 2 else {})

    @property
    def primary(self) -> str:
        """Accuracy where classes are about equally frequent, else macro-F1."""
        return "accuracy" if self.balanced else "macro_f1"

    @classmethod
    def learn(cls, names: Sequence[str]) -> SingleLabel:
        """The classes among the labels of the training rows, and how even they are."""
        counts = Counter(names)
        return cls(sort_labels(counts), is_balanced(list(counts.values())))

    def targets(self, rows: Sequence[Row], column: str) -> np.ndarray:
        """[N] int64 positions in `labels`.

        Raises:
            DataError: a label the schema does not have.
        """
        place = {label: i for i, label in enumerate(self.labels)}
        targets = np.empty(len(rows), np.int64)
        for i, name in enumerate(label_names(rows, column)):
            if name not in place:
                raise DataError(f"label {name!r} was not among the training rows", where=f"row {i}")
            targets[i] = place[name]
        return targets

    def decode(self, logits: np.ndarray) -> list[Prediction]:
        """[N, C] logits → the most probable label of each row."""
        probs = softmax(logits, self.temperature)
        best = probs.argmax(axis=1)
        confidences = probs.max(axis=1).tolist()
        found = zip(best.tolist(), confidences, probs, strict=True)
        return [Prediction(self.labels[k], confidence, row) for k, confidence, row in found]

    def score(self, rows: Sequence[Row], column: str, predictions: Sequence[Prediction]) -> Stats:
        """Columns: true, predicted [N] positions in `labels`; unseen [N] which unknown label, -1 for none; nll [N] in
        nats; positive_score [N], the probability of the positive label of two.
        """
        place = {label: i for i, label in enumerate(self.labels)}
        names = label_names(rows, column)
        unknown = {name: i for i, name in enumerate(sorted({name for name in names if name not in place}))}
        true = np.array([place.get(name, -1) for name in names], np.int64)
        probs = stack_probs(predictions, len(self.labels))
        of_true = np.where(true >= 0, probs[np.arange(len(true)), true], 0.0)
        columns = {
            "true": true,
            "predicted": np.array([place[prediction.value] for prediction in predictions], np.int64),
            "unseen": np.array([unknown.get(name, -1) for name in names], np.int64),
            "nll": -np.log(np.maximum(of_true, MIN_PROBABILITY)),
        }
        if len(self.labels) == 2:
            columns["positive_score"] = probs[:, 1]
        return Stats(columns)

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric."""
        columns = stats.columns
        num_labels = len(self.labels)
        true = np.where(columns["true"] >= 0, columns["true"], num_labels + columns["unseen"])
        predicted = columns["predicted"]
        size = max(num_labels, int(true.max(initial=0)) + 1)
        in_true = np.bincount(true, minlength=size)
        in_predicted = np.bincount(predicted, minlength=size)
        hits = np.bincount(true[true == predicted], minlength=size)
        loss = np.bincount(true, weights=columns["nll"], minlength=size)
        present, total = in_true > 0, len(true)
        either = present | (in_predicted > 0)
        metrics = {
            "accuracy": ratio(hits.sum(), total),
            "macro_f1": mean(2 * hits[either] / (in_true + in_predicted)[either]),
            "mcc": _matthews(hits, in_true, in_predicted),
            "log_loss": mean(columns["nll"]),
            "macro_log_loss": mean(loss[present] / in_true[present]),
        }
        if num_labels == 2:
            known = columns["true"] >= 0
            metrics["auc"] = area_under_roc(columns["true"][known] == 1, columns["positive_score"][known])
            metrics["precision"] = ratio(hits[1], in_predicted[1])
            metrics["recall"] = ratio(hits[1], in_true[1])
            metrics["f1"] = ratio(2 * hits[1], in_true[1] + in_predicted[1])
        return metrics

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """label, confidence, and the few most probable labels."""
        return {"label": prediction.value, **render_probs(prediction, self.labels)}

    def with_temperature(self, temperature: float) -> SingleLabel:
        """A copy with softer (above 1) or sharper probabilities; labels stay."""
        return replace(self, temperature=temperature)


def is_balanced(counts: Sequence[int]) -> bool:
    """Whether classes are about equally frequent: Pielou's evenness, the entropy of the shares over its maximum."""
    shares = np.asarray(counts, np.float64) / sum(counts)
    return bool(-(shares * np.log(shares)).sum() / np.log(len(shares)) >= BALANCED_EVENNESS)


def softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    """[N, C] logits → [N, C] float64 probabilities."""
    scaled = logits.astype(np.float64) / temperature
    powers: np.ndarray = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def render_probs(prediction: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """confidence, and the few most probable labels with their probabilities; JSON-able."""
    probs = prediction.probs
    assert probs is not None
    top = np.argsort(-probs, kind="stable")[:NUM_TOP]
    return {
        "confidence": round(float(prediction.confidence or 0.0), 6),
        "top": {labels[k]: round(float(probs[k]), 6) for k in top.tolist()},
    }


def stack_probs(predictions: Sequence[Prediction], num_labels: int) -> np.ndarray:
    """[N, C] probabilities of predictions that have them."""
    if not predictions:
        return np.zeros((0, num_labels))
    return np.stack([np.asarray(prediction.probs) for prediction in predictions])


def _matthews(hits: np.ndarray, in_true: np.ndarray, in_predicted: np.ndarray) -> float:
    """Matthews correlation of many classes (Gorodkin 2004, eq. 8), from counts a class."""
    total, agree = float(in_true.sum()), float(hits.sum())
    true, predicted = in_true.astype(np.float64), in_predicted.astype(np.float64)
    spread = (total**2 - predicted @ predicted) * (total**2 - true @ true)
    return float((agree * total - true @ predicted) / np.sqrt(spread)) if spread > 0 else float("nan")
