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
# Of an expected loss so much comes true: a student that answers otherwise does so with more reason than its teacher's
# probabilities know of. Of five students on two data sets 0.4 to 0.7 did (decision 23).
_TRUE_SHARE = 0.7
_DOUBT = 0.4  # of that: by so much probabilities may be off together
# Of many models that hold by what a few hundred rows say the quickest is taken, which is one of the luckier ones.
MARGIN = 0.5
_STANDARD_ERRORS = 2.0  # that the estimate may be away from what labels say


def judged_loss(
    task: Task,
    before: tuple[Stats, Sequence[Prediction]],
    after: tuple[Stats, Sequence[Prediction]],
    groups: Sequence[object] | None = None,
    margin: float = MARGIN,
) -> float:
    """Points of the primary metric that are lost, probably not more: the estimate and half of its standard error.

    What labels say and what was expected are weighed by their precision, as if either were of other rows. An expected
    loss is never surer than the probabilities are, and the labels have the last word where it contradicts them.

    Args:
        task: of either model.
        before: of the model that is compressed, on the validation rows; of one row at least.
        after: of the smaller one, on the same rows.
        groups: [N] of the rows, where some belong together; None: none do.
        margin: standard errors on top of the estimate.
    """
    if all(_same(one, other) for one, other in zip(before[1], after[1], strict=True)):
        return 0.0
    part_N = _parts(len(before[0]), groups)
    labels = loss_by_labels(task, before[0], after[0])
    lost, error = labels(np.arange(len(part_N))), _error(labels, part_N)
    if not error:  # no label tells them apart: not surer than one row makes it
        error = (100.0 if task.metrics[task.primary].percent else 1.0) / len(part_N)
    expectation_of = expectation(task, before[1], after[1])
    if expectation_of is None or not math.isfinite(error):
        return lost + (margin * error if math.isfinite(error) else 0.0)
    expected = _TRUE_SHARE * expectation_of(np.arange(len(part_N)))
    doubt = math.hypot(_TRUE_SHARE * _error(expectation_of, part_N), _DOUBT * expected) or error
    precision = 1 / error**2 + 1 / doubt**2
    estimate = (lost / error**2 + expected / doubt**2) / precision
    most = _STANDARD_ERRORS * error
    return min(max(estimate, lost - most), lost + most) + margin / math.sqrt(precision)


def _same(one: Prediction, other: Prediction) -> bool:
    if isinstance(one.value, float) and isinstance(other.value, float):
        return math.isclose(one.value, other.value, rel_tol=1e-5, abs_tol=1e-9)  # sums of 32 bits in another order
    return bool(one.value == other.value)


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


def loss_by_labels(task: Task, before: Stats, after: Stats) -> Figure:
    """Points of the primary metric that are lost by the labels of any of the units."""
    metric = task.metrics[task.primary]
    scale = (100.0 if metric.percent else 1.0) * (1.0 if metric.higher_is_better else -1.0)

    def loss(units: np.ndarray) -> float:
        values = [task.aggregate(stats.take(units))[task.primary] for stats in (before, after)]
        return scale * (values[0] - values[1])

    return loss


def _parts(units: int, groups: Sequence[object] | None) -> np.ndarray:
    """[N] of which part a unit is; groups stay whole."""
    if groups is None:
        return np.arange(units) % _PARTS
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.array([places[group] % _PARTS for group in groups])


def _error(figure: Figure, part_N: np.ndarray) -> float:
    """Standard error by the jackknife over parts (Efron and Tibshirani 1993, chapter 11); infinite of a single one."""
    parts = np.unique(part_N)
    if len(parts) < 2:
        return math.inf
    found = np.array([figure(np.flatnonzero(part_N != part)) for part in parts])
    error = math.sqrt((len(parts) - 1) / len(parts) * float(((found - found.mean()) ** 2).sum()))
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
