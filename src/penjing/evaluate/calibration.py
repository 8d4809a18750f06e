"""Does a confidence of 0.9 mean right nine times in ten? Expected calibration error, and temperature scaling.

Both need probabilities only. The logits of a softmax are its log-probabilities up to a constant, those of a sigmoid
are log p/(1-p), so a temperature can be fitted to an artifact whose logits nobody kept.

Sources: Guo et al. 2017, "On Calibration of Modern Neural Networks" (temperature, ECE with equal-width bins).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from penjing.core.report import ReliabilityBin

Kind = Literal["softmax", "sigmoid"]
NUM_BINS = 15
# Beyond these a temperature says the classifier knows nothing, or the validation rows are memorised.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
_PRIOR_SPREAD = 0.5  # of log T: two in three temperatures are expected between 0.6 and 1.6
_TINY = 1e-12


def rescale(probs: np.ndarray, temperature: float, kind: Kind) -> np.ndarray:
    """Probabilities as they would be with their logits divided by a temperature.

    Args:
        probs: [N, C], rows sum to 1 (softmax) or each in [0, 1] (sigmoid).
        temperature: above 1 softens, below 1 sharpens; 1/T undoes T.
        kind: how probabilities come from logits.

    Returns:
        [N, C] float64.
    """
    return from_logits(to_logits(probs, kind) / temperature, kind)


def to_logits(probs: np.ndarray, kind: Kind) -> np.ndarray:
    """[N, C] float64 logits that give these probabilities; those of a softmax up to a constant a row."""
    logs = np.log(np.clip(np.asarray(probs, dtype=np.float64), _TINY, 1.0))
    if kind == "sigmoid":
        logs -= np.log(np.clip(1.0 - np.asarray(probs, dtype=np.float64), _TINY, 1.0))
    return np.asarray(logs)


def from_logits(logits_NC: np.ndarray, kind: Kind) -> np.ndarray:
    """[N, C] float64 probabilities."""
    if kind == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-logits_NC)))
    powers = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(probs: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """The temperature that minimises the NLL of validation rows.

    The NLL is convex in 1/T, so a golden-section search over log T finds the minimum; no gradient is needed. Targets
    keep one row in N + 2 of doubt (Platt 1999, section 2.2): a few rows that are all right would otherwise justify any
    confidence, and T would fall without bound. log T has a normal prior around 0, for a dozen rows know little about T;
    hundreds outweigh it.

    Args:
        probs: [N, C] as predicted, at temperature 1.
        targets: [N] class index with -1 for rows to leave out (softmax), or [N, C] of 0 and 1 (sigmoid).
        kind: how probabilities come from logits.

    Returns:
        A temperature within [0.05, 20]; 1.0 when there is no row to fit on.
    """
    if kind == "softmax":
        known = targets >= 0
        probs, targets = probs[known], targets[known]
    if not len(probs):
        return 1.0

    def loss(log_temperature: float) -> float:
        prior = (log_temperature / _PRIOR_SPREAD) ** 2 / (2 * len(probs))
        return doubtful_nll(rescale(probs, float(np.exp(log_temperature)), kind), targets, kind) + prior

    return float(np.exp(_golden_section(loss, np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE))))


def doubtful_nll(probs: np.ndarray, targets: np.ndarray, kind: Kind) -> float:
    """Mean NLL against targets of which 1 / (N + 2) is spread over what was not observed."""
    doubt = 1.0 / (len(probs) + 2)
    logs = -np.log(np.clip(probs, _TINY, 1))
    if kind == "softmax":
        observed = logs[np.arange(len(probs)), targets]
        others = (logs.sum(1) - observed) / max(1, probs.shape[1] - 1)
        return float(((1 - doubt) * observed + doubt * others).mean())
    absent = -np.log(np.clip(1.0 - probs, _TINY, 1))
    soft = np.where(targets > 0, 1.0 - doubt, doubt)
    return float((soft * logs + (1 - soft) * absent).mean())


def reliability(
    probs: np.ndarray, targets: np.ndarray, kind: Kind, num_bins: int = NUM_BINS
) -> tuple[float, list[ReliabilityBin]]:
    """Expected calibration error and the bins of the reliability diagram.

    Softmax: confidence is the greatest probability, and accuracy is whether it is the right class. Sigmoid: every
    (row, label) pair counts once, confidence is its probability, accuracy whether the label applies.

    Args:
        probs: [N, C].
        targets: [N] class index, -1 counts as wrong (softmax), or [N, C] of 0 and 1 (sigmoid).
        kind: which of the two.
        num_bins: equal-width bins over [0, 1].

    Returns:
        (ECE in [0, 1], non-empty bins in order).
    """
    if kind == "softmax":
        confidence = probs.max(axis=1)
        correct = (probs.argmax(axis=1) == targets).astype(np.float64)
    else:
        confidence, correct = probs.ravel(), (targets.ravel() > 0).astype(np.float64)
    place = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    bins, error = [], 0.0
    for i in range(num_bins):
        inside = place == i
        if not inside.any():
            continue
        mean_confidence, accuracy = float(confidence[inside].mean()), float(correct[inside].mean())
        error += inside.mean() * abs(mean_confidence - accuracy)
        bins.append(
            ReliabilityBin(
                low=i / num_bins,
                high=(i + 1) / num_bins,
                n=int(inside.sum()),
                confidence=mean_confidence,
                accuracy=accuracy,
            )
        )
    return float(error), bins


def _golden_section(function: Callable[[float], float], low: float, high: float, tolerance: float = 1e-4) -> float:
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return float((low + high) / 2)
