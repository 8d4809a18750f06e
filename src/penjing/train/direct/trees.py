"""Gradient-boosted trees (LightGBM) on tabular features: settings worth trying, and fits with a known validation curve.

Ke et al. 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree". Classes are not reweighted: weights
leave the ranking much as it is and spoil the probabilities, which rare classes (defaults, fraud) need most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penjing.core.errors import MissingExtraError
from penjing.core.runtime import usable_threads
from penjing.train.direct.folds import Fold

if TYPE_CHECKING:
    import lightgbm

PATIENCE = 100
# Rounds that would bring less than this share of all that boosting gained are not worth their size.
FLAT_SHARE = 0.002


@dataclass(frozen=True)
class TreeSettings:
    """What is searched, in LightGBM's names."""

    num_leaves: int = 7
    min_child_samples: int = 10
    feature_fraction: float = 0.3
    bagging_fraction: float = 0.8
    lambda_l2: float = 5.0
    learning_rate: float = 0.05


@dataclass(frozen=True)
class TreeTrial:
    """Settings and what they gave.

    Args:
        settings: the settings.
        rounds: boosting rounds at which the validation loss is as good as least.
        loss: validation loss there, a mean over judged rows.
        scores: [N, K] raw scores of the judged rows, NaN elsewhere.
    """

    settings: TreeSettings
    rounds: int
    loss: float
    scores: np.ndarray


def draw_settings(num_trials: int, num_rows: int, seed: int) -> list[TreeSettings]:
    """The default settings for this many rows, then random ones around what suits such a table."""
    rng = np.random.default_rng(seed)
    small = num_rows < 5_000
    leaves = (3, 5, 7, 11, 15) if small else (15, 31, 63, 127)
    first = TreeSettings() if small else TreeSettings(31, 50, 0.6, 0.8, 5.0, 0.05)
    drawn = [
        TreeSettings(
            num_leaves=int(rng.choice(leaves)),
            min_child_samples=int(rng.choice((5, 10, 20, 40) if small else (20, 50, 100, 200))),
            feature_fraction=float(rng.choice((0.15, 0.3, 0.5, 0.8))),
            bagging_fraction=float(rng.choice((0.6, 0.8, 1.0))),
            lambda_l2=float(rng.choice((1.0, 5.0, 20.0, 60.0))),
            learning_rate=0.05,
        )
        for _ in range(num_trials - 1)
    ]
    return list(dict.fromkeys([first, *drawn]))


@dataclass(frozen=True)
class TreeFitter:
    """Fits boosted trees to one table.

    Args:
        features: [N, F] float32, NaN for gaps.
        target: [N] class index, or standardised number.
        num_classes: 0 for regression.
        max_rounds: greatest number of rounds.
        threads: of LightGBM.
        seed: of bagging and feature sampling.
    """

    features: np.ndarray
    target: np.ndarray
    num_classes: int
    max_rounds: int
    threads: int
    seed: int

    @property
    def num_outputs(self) -> int:
        """K: raw scores a row."""
        return self.num_classes if self.num_classes > 2 else 1

    def trial(self, settings: TreeSettings, folds: list[Fold]) -> TreeTrial:
        """Cross-validate settings, choosing the rounds by the mean validation curve over all folds."""
        fitted = [self._fit_curve(settings, fold) for fold in folds]
        longest = max(len(curve) for _, curve in fitted)
        # A fold that stopped early would only have grown worse: its last loss stands for the rounds it did not run.
        curves = np.array([np.pad(curve, (0, longest - len(curve)), mode="edge") for _, curve in fitted])
        mean = np.average(curves, axis=0, weights=[len(fold.judge) for fold in folds])
        enough = mean.min() + FLAT_SHARE * (mean[0] - mean.min())
        rounds = int(np.flatnonzero(mean <= enough)[0]) + 1
        scores = np.full((len(self.target), self.num_outputs), np.nan)
        for (booster, _), fold in zip(fitted, folds, strict=True):
            scores[fold.judge] = raw_scores(booster, self.features[fold.judge], rounds)
        return TreeTrial(settings, rounds, float(mean[rounds - 1]), scores)

    def fit(self, settings: TreeSettings, rounds: int, rows: np.ndarray, seed: int) -> lightgbm.Booster:
        """Fit on these rows for a fixed number of rounds."""
        lgb = import_lightgbm()
        return lgb.train(self._parameters(settings, seed), self._dataset(rows), num_boost_round=rounds)

    def _fit_curve(self, settings: TreeSettings, fold: Fold) -> tuple[lightgbm.Booster, np.ndarray]:
        lgb = import_lightgbm()
        record: dict[str, dict[str, list[float]]] = {}
        train = self._dataset(fold.fit)
        booster = lgb.train(
            self._parameters(settings, self.seed),
            train,
            num_boost_round=self.max_rounds,
            valid_sets=[train.create_valid(self.features[fold.judge], self.target[fold.judge])],
            valid_names=["judge"],
            callbacks=[lgb.record_evaluation(record), lgb.early_stopping(PATIENCE, verbose=False)],
        )
        (curve,) = record["judge"].values()
        return booster, np.array(curve)

    def _dataset(self, rows: np.ndarray) -> lightgbm.Dataset:
        parameters = {"verbose": -1, "num_threads": self.threads, "feature_pre_filter": False}
        return import_lightgbm().Dataset(self.features[rows], self.target[rows], params=parameters)

    def _parameters(self, settings: TreeSettings, seed: int) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            **settings.__dict__,
            "bagging_freq": 1,
            "seed": seed,
            "verbose": -1,
            "num_threads": self.threads,
            "deterministic": True,
            "force_row_wise": True,
            "feature_pre_filter": False,
        }
        if self.num_classes > 2:
            return {**parameters, "objective": "multiclass", "metric": "multi_logloss", "num_class": self.num_classes}
        if self.num_classes:
            return {**parameters, "objective": "binary", "metric": "binary_logloss"}
        return {**parameters, "objective": "regression", "metric": "l2"}


def raw_scores(booster: lightgbm.Booster, features_NF: np.ndarray, rounds: int | None = None) -> np.ndarray:
    """[N, K] sums of leaf values."""
    if not len(features_NF):
        return np.zeros((0, booster.num_model_per_iteration()))
    scores = booster.predict(features_NF, raw_score=True, num_iteration=rounds, num_threads=usable_threads())
    return np.asarray(scores, np.float64).reshape(len(features_NF), -1)


def import_lightgbm() -> Any:  # a module without type stubs
    """The library.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import lightgbm
    except ImportError:
        raise MissingExtraError("lightgbm", "train") from None
    return lightgbm
