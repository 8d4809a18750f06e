"""Any number of labels a row: one sigmoid a label, a threshold each, and the metrics of multi-label classification.

Labels that the training rows did not have cannot be predicted; scoring counts each as missed, and as a class of its
own whose F1 is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from penjing.core.errors import CapabilityError, DataError
from penjing.core.task import Metric, Prediction, Row, Stats
from penjing.tasks.text_labels import label_sets, sort_labels
from penjing.tasks.text_single_label import MIN_PROBABILITY, render_probs, stack_probs

DEFAULT_THRESHOLD = 0.5
# The best cut of fewer examples says more of those examples than of the label.
MIN_POSITIVES = 10
_METRICS = {
    "macro_f1": Metric(),
    "micro_f1": Metric(),
    "samples_f1": Metric(),
    "subset_accuracy": Metric(share=True),
    "log_loss": Metric(higher_is_better=False, percent=False),
}


@dataclass(frozen=True)
class MultiLabel:
    """What a row's logits mean when it may have several labels, or none.

    Args:
        labels: [C] class names.
        thresholds: [C] probability from which a label is given.
        at_least_one: every training row had a label, so every prediction has one: where no label reaches its
            threshold, the one that comes nearest is given.
        temperature: logits are divided by it before the sigmoid.
    """

    calibration: ClassVar[Literal["sigmoid"]] = "sigmoid"
    target_dtype: ClassVar[str] = "float32"
    metrics: ClassVar[dict[str, Metric]] = _METRICS
    primary: ClassVar[str] = "macro_f1"

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    at_least_one: bool
    temperature: float = 1.0

    @classmethod
    def learn(cls, names: Sequence[Sequence[str]]) -> MultiLabel:
        """The classes among the labels of the training rows, and whether every row has one."""
        labels = sort_labels(name for row in names for name in row)
        return cls(labels, (DEFAULT_THRESHOLD,) * len(labels), at_least_one=all(names))

    def targets(self, rows: Sequence[Row], column: str) -> np.ndarray:
        """[N, C] float32 of 0 and 1.

        Raises:
            DataError: a label the schema does not have.
        """
        place = {label: k for k, label in enumerate(self.labels)}
        targets = np.zeros((len(rows), len(self.labels)), np.float32)
        for i, names in enumerate(label_sets(rows, column)):
            for name in names:
                if name not in place:
                    raise DataError(f"label {name!r} was not among the training rows", where=f"row {i}")
                targets[i, place[name]] = 1.0
        return targets

    def decode(self, logits: np.ndarray) -> list[Prediction]:
        """[N, C] logits → the labels of each row; confidence is the probability of exactly this set, were labels
        independent.
        """
        probs = sigmoid(logits, self.temperature)
        limits = np.asarray(self.thresholds)
        given = probs >= limits
        if self.at_least_one:
            none = ~given.any(axis=1)
            given[none, (probs[none] - limits).argmax(axis=1)] = True
        confidence = np.where(given, probs, 1 - probs).prod(axis=1)
        return [
            Prediction([self.labels[k] for k in np.flatnonzero(mask)], float(sure), row)
            for mask, sure, row in zip(given, confidence, probs, strict=True)
        ]

    def score(self, rows: Sequence[Row], column: str, predictions: Sequence[Prediction]) -> Stats:
        """Columns: tp, fp, fn [N, C] int8; unseen [N, U] int8, unknown labels the row has; hits and errors [N], their
        sums over labels; nll [N] in nats a label.
        """
        place = {label: k for k, label in enumerate(self.labels)}
        names = label_sets(rows, column)
        unknown = {name: k for k, name in enumerate(sorted({n for row in names for n in row if n not in place}))}
        true = _indicator(names, place)
        given = _indicator([prediction.value for prediction in predictions], place)
        probs = stack_probs(predictions, len(self.labels))
        of_true = np.maximum(np.where(true, probs, 1 - probs), MIN_PROBABILITY)
        tp, fp, fn, unseen = true & given, ~true & given, true & ~given, _indicator(names, unknown)
        return Stats(
            {
                "tp": tp.astype(np.int8),
                "fp": fp.astype(np.int8),
                "fn": fn.astype(np.int8),
                "unseen": unseen.astype(np.int8),
                "hits": tp.sum(axis=1),
                "errors": fp.sum(axis=1) + fn.sum(axis=1) + unseen.sum(axis=1),
                "nll": -np.log(of_true).mean(axis=1),
            }
        )

    def aggregate(self, stats: Stats) -> dict[str, float]:
        """Statistics → every metric. Classes that neither occur nor are predicted have no F1 and are left out."""
        columns = stats.columns
        if not len(stats):
            return dict.fromkeys(_METRICS, float("nan"))
        tp, fp, fn, unseen = (_column_sums(columns[name]) for name in ("tp", "fp", "fn", "unseen"))
        weight = np.concatenate([2 * tp + fp + fn, unseen])
        twice = np.concatenate([2 * tp, np.zeros_like(unseen)])
        some = weight > 0
        hits, errors = columns["hits"], columns["errors"]
        # A row that has no label and gets none is entirely right.
        of_row = np.where(hits + errors > 0, 2 * hits / np.maximum(2 * hits + errors, 1), 1.0)
        return {
            "macro_f1": float((twice[some] / weight[some]).mean()) if some.any() else float("nan"),
            "micro_f1": float(twice.sum() / weight.sum()) if some.any() else float("nan"),
            "samples_f1": float(of_row.mean()),
            "subset_accuracy": float((errors == 0).mean()),
            "log_loss": float(columns["nll"].mean()),
        }

    def render(self, prediction: Prediction) -> dict[str, Any]:
        """labels, confidence, and the few most probable labels."""
        return {"labels": list(prediction.value), **render_probs(prediction, self.labels)}

    def with_temperature(self, temperature: float) -> MultiLabel:
        """A copy with softer (above 1) or sharper probabilities. Thresholds move along, so that labels stay."""
        limits = np.asarray(self.thresholds)
        logits = (np.log(limits) - np.log1p(-limits)) * self.temperature
        thresholds = tuple(float(value) for value in sigmoid(logits, temperature))
        return replace(self, temperature=temperature, thresholds=thresholds)

    def fit_to(self, rows: Sequence[Row], column: str, predictions: Sequence[Prediction]) -> MultiLabel:
        """A copy with the thresholds that are best for the F1 of each label on validation rows."""
        place = {label: k for k, label in enumerate(self.labels)}
        true = _indicator(label_sets(rows, column), place).astype(np.int64)
        return self.with_thresholds(best_thresholds(stack_probs(predictions, len(self.labels)), true).tolist())

    def with_thresholds(self, thresholds: Sequence[float]) -> MultiLabel:
        """A copy that gives labels from other probabilities on.

        Raises:
            CapabilityError: not one threshold within (0, 1) a label.
        """
        if len(thresholds) != len(self.labels) or not all(0 < value < 1 for value in thresholds):
            raise CapabilityError(
                f"thresholds {list(thresholds)[:10]} do not fit",
                expected=f"{len(self.labels)} numbers between 0 and 1, in the order of the labels",
            )
        return replace(self, thresholds=tuple(float(value) for value in thresholds))


def best_thresholds(probs: np.ndarray, true: np.ndarray, min_positives: int = MIN_POSITIVES) -> np.ndarray:
    """The threshold of each label that maximises its F1 on validation rows.

    A threshold lies midway between two neighbouring probabilities, so the F1 of every possible cut is looked at.

    Args:
        probs: [N, C].
        true: [N, C] of 0 and 1.
        min_positives: labels with fewer rows keep 0.5.

    Returns:
        [C] within (0, 1).
    """
    best = np.full(probs.shape[1], DEFAULT_THRESHOLD)
    for k in np.flatnonzero(true.sum(axis=0) >= max(min_positives, 1)):
        order = np.argsort(-probs[:, k], kind="stable")
        ranked, hits = probs[order, k], np.cumsum(true[order, k])
        f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
        following = np.append(ranked[1:], 0.0)
        f1[ranked == following] = -1.0  # no cut separates equal probabilities
        cut = int(f1.argmax())
        best[k] = np.clip((ranked[cut] + following[cut]) / 2, 1e-6, 1 - 1e-6)
    return best


def sigmoid(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Logits → float64 probabilities, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64) / temperature))


def _column_sums(counts: np.ndarray) -> np.ndarray:
    """[N, C] small counts → [C], as a product: summing bytes down a column is several times slower, and bootstraps do
    nothing else. Exact up to 2^24 rows.
    """
    sums: np.ndarray = np.ones(len(counts), np.float32) @ counts.astype(np.float32)
    return sums.astype(np.float64)


def _indicator(rows: Sequence[Sequence[str]], place: dict[str, int]) -> np.ndarray:
    mask = np.zeros((len(rows), len(place)), bool)
    for i, names in enumerate(rows):
        mask[i, [place[name] for name in names if name in place]] = True
    return mask
