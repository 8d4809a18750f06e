"""Learn a table: boosted trees and a linear model, each with searched settings, mixed by cross-validation."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from penjing.core.errors import DataError
from penjing.core.events import Listener, Notice, Progress
from penjing.core.runtime import usable_threads
from penjing.core.task import Batch, Table, Task
from penjing.tasks.text_labels import label_names
from penjing.train.direct.blend import Blend, fit_blend, half_loss
from penjing.train.direct.config import LINEAR, TREE_SHARE, TREES, DirectConfig
from penjing.train.direct.folds import Fold, plan_folds
from penjing.train.direct.linear import LinearModel, fit_linear
from penjing.train.direct.model import TabularModel
from penjing.train.direct.trees import TreeFitter, TreeTrial, draw_settings

# The likeliest first: where time is short, the search ends early.
STRENGTHS = (0.1, 0.03, 0.3, 0.01, 1.0, 0.003, 0.001, 10.0, 0.0003)
STEPS = (0, 9)
LINEAR_SETTINGS = tuple((strength, steps) for strength in STRENGTHS for steps in STEPS)
MAX_LINEAR_ROWS = 50_000
NUM_AVERAGED = 3
MIN_ROWS = 10


class BoostingTrainer:
    """Direct trainer of tabular tasks.

    Small tables are cross-validated on train and valid together, for settings alone; the model is then fitted on train.
    Large ones, and those in time, are fitted on train and judged on valid (or on a fifth of train, where valid is
    empty).
    """

    def honours(self, task: Task) -> frozenset[str]:
        """The settings of the train stage that are taken into account: its part for direct trainers alone."""
        return frozenset({"direct"})

    def fit(
        self, task: Task, train: Table, valid: Table, config: Any, *, seed: int, listener: Listener
    ) -> TabularModel:
        """Search, mix, and fit.

        Args:
            task: a tabular task.
            train: rows to fit on.
            valid: rows for settings; may be empty.
            config: how long to search, and among what.
            seed: of folds, searches and bagging.
            listener: told of every trial.

        Raises:
            DataError: too few rows.
            MissingExtraError: LightGBM or scikit-learn is not installed.
        """
        if len(train) < MIN_ROWS:
            raise DataError(f"{len(train)} training rows", where=train.name or None, expected=f"at least {MIN_ROWS}")
        valid = _known(task, valid, listener)
        begun = time.monotonic()
        batch = _joined(task.encode(train.rows, training=True), valid, task)
        # Left to itself, LightGBM takes every processor of the affinity, also those a container's quota withholds.
        threads = config.threads or usable_threads()
        fitter = TreeFitter(batch["features"], batch["targets"], len(task.labels), config.max_rounds, threads, seed)
        fit_rows = np.arange(len(train))
        folds = plan_folds(
            Table([*train.rows, *valid.rows], [*train.row_ids, *valid.row_ids]),
            task.roles,
            fitter.target,
            fitter.num_classes,
            num_train=len(train),
            config=config,
            seed=seed,
        )
        clock = _Clock(begun, TREE_SHARE * config.seconds, listener)
        trials = _search_trees(fitter, folds, config, seed, clock)
        if len(train) > config.small_rows:
            trials = trials[:1]
        tree_scores = np.mean([trial.scores for trial in trials], axis=0)
        clock = _Clock(begun, config.seconds, listener)
        strength, steps, linear_scores = _search_linear(fitter, folds, tree_scores, seed, clock)
        judged = np.concatenate([fold.judge for fold in folds])
        blend = fit_blend(tree_scores[judged], linear_scores[judged], fitter.target[judged], fitter.num_classes)
        listener(Notice("train", _describe(trials, blend, strength, steps, len(judged))))
        boosters = []
        if blend.trees:
            num_seeds = config.num_seeds if len(train) <= config.small_rows else 1
            boosters = [
                fitter.fit(trial.settings, trial.rounds, fit_rows, seed + k)
                for trial in trials
                for k in range(num_seeds)
            ]
        linear = _fit_linear(fitter, fit_rows, strength, steps, seed) if blend.linear else None
        return TabularModel(boosters, linear, blend.trees, blend.linear, fitter.num_classes, fitter.features.shape[1])


def _known(task: Task, valid: Table, listener: Listener) -> Table:
    """Validation rows whose label is among those of the training rows."""
    if not task.labels:
        return valid
    column = task.roles.label
    names = label_names(valid.rows, column)
    known = [i for i, name in enumerate(names) if name in task.labels]
    if len(known) == len(valid):
        return valid
    unseen = sorted(set(names) - set(task.labels))
    shown = ", ".join(repr(name) for name in unseen[:3]) + (", ..." if len(unseen) > 3 else "")
    left_out = len(valid) - len(known)
    listener(Notice("train", f"left out {left_out} validation rows with labels no training row has: {shown}"))
    return valid.take(known)


def _joined(batch: Batch, valid: Table, task: Task) -> Batch:
    if not len(valid):
        return batch
    more = task.encode(valid.rows, training=True)
    return {name: np.concatenate([batch[name], more[name]]) for name in batch}


@dataclass(frozen=True)
class _Clock:
    """Ends a search when its time is over, but not before one setting is tried.

    Args:
        begun: when the fit began, in monotonic seconds.
        seconds: from then.
        listener: told of every setting, and of an end before the last.
    """

    begun: float
    seconds: float
    listener: Listener

    def is_over(self, done: int, total: int, unit: str, values: dict[str, float]) -> bool:
        """After each setting: whether it was the last."""
        self.listener(Progress("train", done, total, unit, values=values))
        if done == total or time.monotonic() - self.begun <= self.seconds:
            return done == total
        text = f"stopped after {done} of {total} {unit}: {self.seconds:g} seconds are over"
        self.listener(Notice("train", text))
        return True


def _search_trees(
    fitter: TreeFitter, folds: list[Fold], config: DirectConfig, seed: int, clock: _Clock
) -> list[TreeTrial]:
    """The few trials of least validation loss, best first.

    On small tables the best of many is best by luck; the mean of the best few is steadier than any of them.
    """
    drawn = draw_settings(config.trials, len(fitter.target), seed)
    trials: list[TreeTrial] = []
    for done, candidate in enumerate(drawn, start=1):
        trials.append(fitter.trial(candidate, folds))
        values = {"loss": trials[-1].loss, "best_loss": min(trial.loss for trial in trials)}
        if clock.is_over(done, len(drawn), TREES, values):
            break
    return sorted(trials, key=lambda trial: trial.loss)[:NUM_AVERAGED]


def _search_linear(
    fitter: TreeFitter, folds: list[Fold], tree_scores: np.ndarray, seed: int, clock: _Clock
) -> tuple[float, int, np.ndarray]:
    """Penalty and steps that are worth most beside the trees, with the scores [N, K] of the judged rows (else NaN)."""
    best: tuple[float, float, int, np.ndarray] | None = None
    judged = np.concatenate([fold.judge for fold in folds])
    for done, (strength, steps) in enumerate(LINEAR_SETTINGS, start=1):
        scores = np.full((len(fitter.target), fitter.num_outputs), np.nan)
        for fold in folds:
            model = _fit_linear(fitter, fold.fit, strength, steps, seed)
            scores[fold.judge] = model.predict(fitter.features[fold.judge])
        loss = half_loss(tree_scores[judged], scores[judged], fitter.target[judged], fitter.num_classes)
        if best is None or loss < best[0]:
            best = (loss, strength, steps, scores)
        if clock.is_over(done, len(LINEAR_SETTINGS), LINEAR, {"loss": loss, "best_loss": best[0]}):
            break
    assert best is not None
    return best[1:]


def _fit_linear(fitter: TreeFitter, rows: np.ndarray, strength: float, steps: int, seed: int) -> LinearModel:
    if len(rows) > MAX_LINEAR_ROWS:  # more rows hardly move a few hundred weights
        rows = _sample(rows, fitter.target[rows] if fitter.num_classes else np.zeros(len(rows)), seed)
    return fit_linear(
        fitter.features[rows],
        fitter.target[rows],
        num_classes=fitter.num_classes,
        strength=strength,
        num_steps=steps,
    )


def _sample(rows: np.ndarray, target_N: np.ndarray, seed: int) -> np.ndarray:
    """About `MAX_LINEAR_ROWS` rows, of each class the same share and at least one."""
    rng = np.random.default_rng(seed)
    share = MAX_LINEAR_ROWS / len(rows)
    parts = [np.flatnonzero(target_N == value) for value in np.unique(target_N)]
    kept = [rng.choice(part, math.ceil(share * len(part)), replace=False) for part in parts]
    return rows[np.sort(np.concatenate(kept))]


def _describe(trials: list[TreeTrial], blend: Blend, strength: float, steps: int, num_judged: int) -> str:
    found = "; ".join(f"{trial.settings.num_leaves} leaves, {trial.rounds} rounds" for trial in trials)
    return (
        f"{blend.trees:.2f} × boosted trees ({found}) + "
        f"{blend.linear:.2f} × linear (C {strength:g}, {steps} steps a number); "
        f"loss {blend.loss:.4f} on {num_judged} judged rows (best trees alone {trials[0].loss:.4f})"
    )
