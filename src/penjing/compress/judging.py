"""What a smaller model loses, as far as the validation rows can tell.

Their labels say it, and so does what the calibrated model before thought of either answer; each as far as it can be
sure. See docs/decisions/0023-near-models-are-told-apart-without-labels.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from penjing.core.task import Prediction, Stats, Task

Figure = Callable[[np.ndarray], float]  # of the units at some positions

_PARTS = 20  # of the rows, each left out once
_DOUBT = 0.3  # of an expected loss: by so much the probabilities of a calibrated model may be off together
# Of many models that hold by what a few hundred rows say the quickest is taken, which is one of the luckier ones.
_MARGIN = 0.5


def judged_loss(
    task: Task, before: tuple[Stats, Sequence[Prediction]], after: tuple[Stats, Sequence[Prediction]]
) -> float:
    """Points of the primary metric that are lost, probably not more: the estimate and half of its standard error.

    What labels say and what was expected are weighed by their precision; an expected loss is never surer than the
    probabilities are.

    Args:
        task: of either model.
        before: of the model that is compressed, on the validation rows; of one row at least.
        after: of the smaller one, on the same rows.
    """
    units = len(before[0])
    lost = _by_labels(task, before[0], after[0])
    scale = 100.0 if task.metrics[task.primary].percent else 1.0
    least = scale / units  # no figure is surer than one row makes it
    estimates = [(lost(np.arange(units)), max(_error(lost, units), least))]
    expected = expectation(task, before[1], after[1])
    if expected is not None:
        value = expected(np.arange(units))
        estimates.append((value, max(math.hypot(_error(expected, units), _DOUBT * value), least / 100)))
    if all(value == 0 for value, _ in estimates):
        return 0.0
    known = [(value, error) for value, error in estimates if math.isfinite(error)]
    if not known:  # of so few rows that none can be left out
        return sum(value for value, _ in estimates) / len(estimates)
    weights = [1 / error**2 for _, error in known]
    estimate = sum(weight * value for weight, (value, _) in zip(weights, known, strict=True)) / sum(weights)
    return estimate + _MARGIN / math.sqrt(sum(weights))


def expected_loss(task: Task, before: Sequence[Prediction], after: Sequence[Prediction]) -> float | None:
    """Points of the primary metric that a model is expected to lose, if the one before is right as often as it says.

    Where both answer the same no accuracy is lost, elsewhere what the calibrated model before thought of either answer.
    Labels decide a few rows in a hundred by chance; this looks at the same rows without them, and varies far less. The
    F1 of a class is that of the hits and the rows which the probabilities give it.

    Args:
        task: of either model.
        before: predictions of the model that is compressed.
        after: of the smaller one, on the same rows.

    Returns:
        None where the task has no single label with a probability, or another primary metric than these two.
    """
    found = expectation(task, before, after)
    return None if found is None else found(np.arange(len(before)))


def expectation(task: Task, before: Sequence[Prediction], after: Sequence[Prediction]) -> Figure | None:
    """`expected_loss` of any of the rows."""
    if not before or task.calibration != "softmax" or before[0].probs is None or after[0].probs is None:
        return None
    if task.primary not in _EXPECTED:
        return None
    probs_NC = np.stack([prediction.probs for prediction in before])
    mine_N = np.array([int(np.argmax(prediction.probs)) for prediction in after])
    theirs_N, expected = probs_NC.argmax(1), _EXPECTED[task.primary]

    def loss(rows: np.ndarray) -> float:
        return 100 * (expected(probs_NC[rows], theirs_N[rows]) - expected(probs_NC[rows], mine_N[rows]))

    return loss


def _by_labels(task: Task, before: Stats, after: Stats) -> Figure:
    metric = task.metrics[task.primary]
    scale = (100.0 if metric.percent else 1.0) * (1.0 if metric.higher_is_better else -1.0)

    def loss(units: np.ndarray) -> float:
        values = [task.aggregate(stats.take(units))[task.primary] for stats in (before, after)]
        return scale * (values[0] - values[1])

    return loss


def _error(figure: Figure, units: int) -> float:
    """Standard error by the jackknife over parts (Efron and Tibshirani 1993, chapter 11); infinite of a single unit."""
    parts = min(_PARTS, units)
    if parts < 2:
        return math.inf
    part_N = np.arange(units) % parts
    found = np.array([figure(np.flatnonzero(part_N != part)) for part in range(parts)])
    error = math.sqrt((parts - 1) / parts * float(((found - found.mean()) ** 2).sum()))
    return error if math.isfinite(error) else math.inf


def _expected_accuracy(probs_NC: np.ndarray, answers_N: np.ndarray) -> float:
    return float(probs_NC[np.arange(len(answers_N)), answers_N].mean())


def _expected_macro_f1(probs_NC: np.ndarray, answers_N: np.ndarray) -> float:
    num_classes = probs_NC.shape[1]
    right_N = probs_NC[np.arange(len(answers_N)), answers_N]
    hits_C = np.bincount(answers_N, weights=right_N, minlength=num_classes)
    either_C = probs_NC.sum(0) + np.bincount(answers_N, minlength=num_classes)
    return float((2 * hits_C / either_C.clip(min=1e-12)).mean())


_EXPECTED = {"accuracy": _expected_accuracy, "macro_f1": _expected_macro_f1}
