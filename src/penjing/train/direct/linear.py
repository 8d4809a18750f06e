"""Regularised linear models on tabular features: on a thousand rows they often beat boosted trees, or help them.

Each number also gives step features at its training quantiles, so that the model is additive and piecewise constant
rather than straight (what a scorecard does by binning), with one L2 penalty over all weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from penjing.core.errors import MissingExtraError

NUM_STEPS = 9
MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Expansion:
    """Raw features with gaps → inputs of a linear model.

    Args:
        mean: [F] float32, put where a value is missing, and subtracted.
        scale: [F] float32, divided by.
        step_feature: [T] int64, the feature of each step.
        step_at: [T] float32; the step is 1 where the feature is greater.
    """

    mean: np.ndarray
    scale: np.ndarray
    step_feature: np.ndarray
    step_at: np.ndarray

    def __call__(self, features_NF: np.ndarray) -> np.ndarray:
        """[N, F] float32 → [N, 2F + T] float32: standardised numbers, missing flags, steps."""
        missing_NF = np.isnan(features_NF)
        filled_NF = np.where(missing_NF, self.mean, features_NF)
        steps_NT = filled_NF[:, self.step_feature] > self.step_at
        parts = [(filled_NF - self.mean) / self.scale, missing_NF, steps_NT]
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)


def learn_expansion(features_NF: np.ndarray, num_steps: int = NUM_STEPS) -> Expansion:
    """Means, scales and quantile steps of training features; 0/1 features get no steps."""
    num_features = features_NF.shape[1]
    mean, scale = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)
    owners: list[int] = []
    places: list[float] = []
    for f in range(num_features):
        known = features_NF[:, f][~np.isnan(features_NF[:, f])].astype(np.float64)
        if not len(known):
            continue
        mean[f] = known.mean()
        scale[f] = known.std() or 1.0
        if len(np.unique(known)) > 2:
            cuts = np.unique(np.quantile(known, np.linspace(0, 1, num_steps + 2)[1:-1], method="lower"))
            cuts = cuts[cuts < known.max()].astype(np.float32)
            owners += [f] * len(cuts)
            places += cuts.tolist()
    return Expansion(mean, scale, np.array(owners, np.int64), np.array(places, np.float32))


@dataclass(frozen=True)
class LinearModel:
    """Scores = expansion · weights + bias.

    Args:
        expansion: how features are expanded.
        weights: [2F + T, K] float32.
        bias: [K] float32.
    """

    expansion: Expansion
    weights: np.ndarray
    bias: np.ndarray

    def predict(self, features_NF: np.ndarray) -> np.ndarray:
        """[N, K] raw scores: K is 1 for two classes and for a number, else the number of classes."""
        return self.expansion(features_NF) @ self.weights + self.bias

    def to_state(self) -> dict[str, Any]:
        """JSON-able."""
        arrays = {name: getattr(self.expansion, name).tolist() for name in Expansion.__dataclass_fields__}
        return {"expansion": arrays, "weights": self.weights.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> LinearModel:
        """Inverse of `to_state`."""
        types = {"step_feature": np.int64}
        arrays = {name: np.array(values, types.get(name, np.float32)) for name, values in state["expansion"].items()}
        weights = np.array(state["weights"], np.float32)
        return cls(Expansion(**arrays), weights, np.array(state["bias"], np.float32))


def fit_linear(
    features_NF: np.ndarray, target_N: np.ndarray, *, num_classes: int, strength: float, num_steps: int = NUM_STEPS
) -> LinearModel:
    """Logistic regression (num_classes ≥ 2) or ridge regression (num_classes 0).

    Args:
        features_NF: [N, F] float32 with NaN for gaps.
        target_N: [N] class index, or standardised number.
        num_classes: number of classes; 0 for regression.
        strength: inverse of the L2 penalty on the summed loss (scikit-learn's `C`; ridge uses 1 / (2 strength)).
        num_steps: quantile steps a number gets; 0 leaves the model straight.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    expansion = learn_expansion(features_NF, num_steps)
    inputs = expansion(features_NF).astype(np.float64)
    if num_classes and len(np.unique(target_N)) < 2:
        seen, weights, bias = np.unique(target_N), np.zeros((inputs.shape[1], 1)), np.zeros(1)
    else:
        if num_classes:
            model = LogisticRegression(C=strength, max_iter=MAX_ITERATIONS, tol=1e-5).fit(inputs, target_N)
        else:
            model = Ridge(alpha=1 / (2 * strength)).fit(inputs, target_N)
        seen = model.classes_ if num_classes else np.zeros(1)
        weights, bias = np.atleast_2d(model.coef_).T, np.atleast_1d(model.intercept_)
    if len(seen) < num_classes:
        weights, bias = _with_absent(inputs, weights, bias, seen.astype(np.int64), num_classes)
    return LinearModel(expansion, weights.astype(np.float32), bias.astype(np.float32))


def _with_absent(
    inputs: np.ndarray, weights: np.ndarray, bias: np.ndarray, seen: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of all classes, where some had no row: those are as likely as half a row among all."""
    if len(seen) == 2:  # the log-odds of the second
        weights, bias = np.hstack([-weights / 2, weights / 2]), np.concatenate([-bias / 2, bias / 2])
    total = np.logaddexp.reduce(inputs @ weights + bias, axis=1).mean()
    all_weights = np.zeros((inputs.shape[1], num_classes))
    all_bias = np.full(num_classes, total - np.log(2 * len(inputs)))
    all_weights[:, seen], all_bias[seen] = weights, bias
    if num_classes > 2:
        return all_weights, all_bias
    return all_weights[:, 1:] - all_weights[:, :1], all_bias[1:] - all_bias[:1]
