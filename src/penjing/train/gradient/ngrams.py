"""Fit the linear model over n-grams that stands beside a trained encoder, and the share each has in their sum.

Features and fit are those of the strong baseline of text classification: TF-IDF of single tokens and pairs of
neighbours under a linear support vector machine (one class against the rest). The shares are the most probable factors
given the validation rows, which neither part learned from.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from penjing.core.errors import DataError, MissingExtraError
from penjing.core.events import Progress
from penjing.core.task import Batch, Row, Task
from penjing.models.ngrams import NgramScores, num_slots, token_hashes
from penjing.train.gradient.objective import Objective

if TYPE_CHECKING:
    from scipy import sparse

PENALTY = 1.0  # C of the support vector machine, where ten times more or less hardly matters
# Tokens and their neighbours decide the memory of the fit, some 600 MB at most; tokens × classes its time, seconds.
MAX_TOKENS = 5_000_000
MAX_TOKEN_CLASSES = 100_000_000
MAX_WEIGHTS = 8_000_000  # features × classes: a table of 16 MB
MAX_VALID_ROWS = 2_000
_CHUNK = 256
# Priors of the shares, for a dozen validation rows tell little: log of the encoder's share ~ N(0, 0.5²), and the linear
# model's ~ N(0, 2²), none if the rows say nothing.
_DEEP_SPREAD, _WIDE_SPREAD = 0.5, 2.0
_LEAST_SHARE = 0.02  # below it the linear model is left out


@dataclass(frozen=True)
class Shares:
    """Logits = encoder's · `deep` + linear model's · `wide`."""

    deep: float
    wide: float


def fit_ngrams(
    task: Task, rows: list[Row], *, balanced: bool = False, seed: int = 42
) -> Generator[Progress, None, NgramScores]:
    """Fit one support vector machine a class; yields progress, returns the linear model.

    Args:
        task: encodes rows; single- or multi-label.
        rows: what it learns from, all of them; see `affordable_rows`.
        balanced: whether rare classes weigh as much as common ones.
        seed: of the fit.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from scipy import sparse
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    num_classes = len(task.labels)
    row_F, hash_F, targets = _occurrences(task, rows)
    known, columns, size = _features(hash_F, max_features=MAX_WEIGHTS // (num_classes + 1))
    learned = columns >= 0
    counts = sparse.csr_matrix(
        (np.ones(int(learned.sum()), np.float32), (row_F[learned], columns[learned])), shape=(len(rows), len(known))
    )  # what a row holds twice is summed
    idf = 1 + np.log((1 + len(rows)) / (1 + np.bincount(counts.indices, minlength=len(known))))
    norm_N = np.sqrt(np.maximum(counts @ idf**2, 1e-6))
    inputs = (sparse.diags(1 / norm_N) @ counts @ sparse.diags(idf)).tocsr()
    table = np.zeros((len(known) + 1, num_classes + 1), np.float16)
    table[1:, -1] = idf**2
    bias_C = np.zeros(num_classes, np.float32)
    for k, (weights, bias) in enumerate(_classes(inputs, targets, num_classes, balanced=balanced, seed=seed)):
        table[1:, k], bias_C[k] = weights * idf, bias
        yield Progress("n-grams", k + 1, num_classes, "classes", note="fitting the linear model over n-grams")
    slots = np.zeros(size, np.int32)
    slots[known % size] = np.arange(1, len(known) + 1)
    arrays = (slots, np.concatenate([[-1], known]), table, bias_C)
    return NgramScores(*(torch.from_numpy(array) for array in arrays))


def expected_ngrams(task: Task, rows: list[Row], num_rows: int) -> int:
    """How many features `num_rows` rows will have, from some of them, by Heaps' law: they grow by a power of the rows.

    Args:
        task: encodes rows.
        rows: a sample, at least two.
        num_rows: of the training part.
    """
    half, found = _distinct(task, rows[::2]), _distinct(task, rows)
    power = float(np.log2(found / max(1, half))) if found > half else 0.0
    affordable = min(MAX_TOKENS, MAX_TOKEN_CLASSES // len(task.labels)) / max(1.0, float(task.lengths(rows).mean()))
    grown = found * (max(1.0, min(num_rows, affordable)) / len(rows)) ** power
    return int(min(grown, MAX_WEIGHTS // (len(task.labels) + 1)))


def fit_shares(deep_NC: Tensor, wide_NC: Tensor, targets: Tensor, objective: Objective) -> Shares:
    """The most probable shares, given rows that neither part learned from.

    Args:
        deep_NC: logits of the encoder.
        wide_NC: scores of the linear model.
        targets: [N] classes, or [N, C] of 0 and 1.
        objective: loss of a row; classes that weigh more in training do so here.
    """
    from scipy.optimize import minimize

    def loss(point: np.ndarray) -> float:
        prior = 0.5 * ((point[0] / _DEEP_SPREAD) ** 2 + (point[1] / _WIDE_SPREAD) ** 2)
        logits_NC = float(np.exp(point[0])) * deep_NC.double() + float(point[1]) * wide_NC.double()
        return float(objective.per_row(logits_NC, targets).sum()) + prior

    found = minimize(loss, np.array([0.0, 0.5]), method="L-BFGS-B", bounds=[(-3.0, 3.0), (0.0, 20.0)])
    deep, wide = float(np.exp(found.x[0])), float(found.x[1])
    return Shares(deep, wide) if wide >= _LEAST_SHARE else Shares(1.0, 0.0)


def affordable_rows(task: Task, rows: list[Row], seed: int) -> list[Row]:
    """All rows, or as many at random as the bounds of memory and time allow."""
    left = min(MAX_TOKENS, MAX_TOKEN_CLASSES // len(task.labels))
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))
    taken = 0
    while taken < len(order) and left > 0:
        tokens = np.cumsum(task.lengths([rows[i] for i in order[taken : taken + _CHUNK]]))
        fit = int(np.searchsorted(tokens, left, side="right"))
        taken += fit
        if fit < len(tokens):
            break
        left -= int(tokens[-1])
    return [rows[i] for i in np.sort(order[:taken])]


def known_rows(task: Task, rows: list[Row]) -> Iterator[Row]:
    """Those whose labels the training rows had; about the others no model can be right."""
    for row in rows:
        try:
            task.encode([row], training=True)
        except DataError:
            continue
        yield row


def _occurrences(task: Task, rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[F] row and [F] hash of every token and pair that does not repeat the one before it, and the rows' targets."""
    places, hashes, targets = [], [], []
    for start in range(0, len(rows), _CHUNK):
        batch = task.encode(rows[start : start + _CHUNK], training=True)
        for rows_F, hash_F in _counted(batch):
            places.append(start + rows_F)
            hashes.append(hash_F)
        targets.append(batch["targets"])
    return np.concatenate(places), np.concatenate(hashes), np.concatenate(targets)


def _counted(batch: Batch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """[F] int32 row and [F] int32 hash of each token of a batch, then of each pair."""
    for skipped, found in enumerate(token_hashes(batch["input_ids"])):
        counted = batch["attention_mask"][:, skipped:].astype(bool)
        counted[:, 1:] &= found[:, 1:] != found[:, :-1]
        yield np.nonzero(counted)[0].astype(np.int32), found[counted].astype(np.int32)


def _distinct(task: Task, rows: list[Row]) -> int:
    batches = (task.encode(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK))
    return len(np.unique(np.concatenate([hashes for batch in batches for _, hashes in _counted(batch)])))


def _features(hash_F: np.ndarray, max_features: int) -> tuple[np.ndarray, np.ndarray, int]:
    """[K] int64 hashes that become features, [F] which of them each occurrence is (-1: none), and the slots they need.

    The commonest, where there are too many; of those that want the same slot, the commonest too.
    """
    distinct, inverse_F, occurrences = np.unique(hash_F, return_inverse=True, return_counts=True)
    order = np.argsort(-occurrences, kind="stable")[:max_features]
    slots = num_slots(len(order))
    _, first = np.unique(distinct[order] % slots, return_index=True)
    kept = np.sort(order[first])
    feature = np.full(len(distinct), -1, np.int64)
    feature[kept] = np.arange(len(kept))
    return distinct[kept].astype(np.int64), feature[inverse_F], slots


def _classes(
    inputs: sparse.csr_matrix, targets: np.ndarray, num_classes: int, *, balanced: bool, seed: int
) -> Iterator[tuple[np.ndarray, float]]:
    """Weights [F] and bias of each class in turn."""
    mirrored = num_classes == 2 and targets.ndim == 1  # what speaks for one of two classes speaks against the other
    first: tuple[np.ndarray, float] | None = None
    for k in range(num_classes):
        if mirrored and first is not None:
            yield -first[0], -first[1]
            return
        has_N = targets[:, k] > 0.5 if targets.ndim == 2 else targets == k
        first = _one_class(inputs, has_N, balanced=balanced, seed=seed)
        yield first


def _one_class(inputs: sparse.csr_matrix, has_N: np.ndarray, *, balanced: bool, seed: int) -> tuple[np.ndarray, float]:
    """A class that no row has, or every row, gets the score that all its rows would."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError:
        raise MissingExtraError("scikit-learn", "train") from None
    if has_N.all() or not has_N.any():
        return np.zeros(inputs.shape[1]), 1.0 if has_N.all() else -1.0
    model: Any = LinearSVC(C=PENALTY, class_weight="balanced" if balanced else None, random_state=seed)
    with warnings.catch_warnings():
        # Where labels contradict each other it may stop early; validation rows judge what came of it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, has_N)
    return model.coef_[0], float(model.intercept_[0])
