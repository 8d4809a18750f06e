"""Fit the linear model over n-grams that stands beside a trained encoder, and the share each has in their sum.

Features and fit are those of the strong baseline of text classification: TF-IDF of single tokens and pairs of
neighbours under a linear support vector machine (one class against the rest). The shares are the factors under which
validation rows, which neither was fitted on, are most probable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from penjing.core.errors import DataError
from penjing.core.task import Row, Table, Task
from penjing.models.ngrams import NgramScores, token_hashes

PENALTY = 1.0  # C of the support vector machine, where ten times more or less hardly matters
# One fit a class, so rows × classes decides the time: this many take a few seconds.
MAX_ROW_CLASSES = 4_000_000
MAX_TOKENS = 5_000_000  # and their neighbours decide the memory: about 300 MB
MAX_VALID_ROWS = 2_000
_SLOTS_A_FEATURE = 8  # so that seven in eight features have a slot to themselves
_SLOTS = (2**12, 2**22)  # fewest and most, 16 KB and 16 MB
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


def fit_ngrams(task: Task, table: Table, *, balanced: bool = False, seed: int = 42) -> NgramScores | None:
    """The linear model, or None where it has nothing to tell apart.

    Args:
        task: encodes rows; single- or multi-label.
        table: training rows; some at random where all would take too long, or too much memory.
        balanced: whether rare classes weigh as much as common ones.
        seed: of the rows drawn and of the fit.
    """
    num_classes = len(task.labels)
    rows = _affordable(task, table.rows, num_classes, seed)
    row_F, hash_F, targets = _occurrences(task, rows)
    slots, column_F, num_features = _features(hash_F)
    counts = sparse.csr_matrix(
        (np.ones(len(row_F), np.float32), (row_F, column_F)), shape=(len(rows), num_features)
    )  # the same feature twice in a row is summed
    idf = 1 + np.log((1 + len(rows)) / (1 + np.bincount(counts.indices, minlength=num_features)))
    norm_N = np.sqrt(np.maximum(counts @ idf**2, 1e-6))
    inputs = (sparse.diags(1 / norm_N) @ counts @ sparse.diags(idf)).tocsr()
    coef_CF, bias_C = _fit_classes(inputs, targets, num_classes, balanced=balanced, seed=seed)
    if not coef_CF.any():
        return None
    weights = np.zeros((num_features + 1, num_classes + 1), np.float16)
    weights[1:, :-1] = (coef_CF * idf).T
    weights[1:, -1] = idf**2
    return NgramScores(torch.from_numpy(slots), torch.from_numpy(weights), torch.from_numpy(bias_C.astype(np.float32)))


def fit_shares(deep_NC: np.ndarray, wide_NC: np.ndarray, targets: np.ndarray) -> Shares:
    """The most probable shares, given rows that neither part was fitted on.

    Args:
        deep_NC: logits of the encoder.
        wide_NC: scores of the linear model.
        targets: [N] classes, or [N, C] of 0 and 1.
    """

    def loss(point: np.ndarray) -> float:
        logits_NC = np.exp(point[0]) * deep_NC + point[1] * wide_NC
        prior = 0.5 * ((point[0] / _DEEP_SPREAD) ** 2 + (point[1] / _WIDE_SPREAD) ** 2)
        return float(_losses(logits_NC, targets).sum() + prior)

    found = minimize(loss, np.array([0.0, 0.5]), method="L-BFGS-B", bounds=[(-3.0, 3.0), (0.0, 20.0)])
    deep, wide = float(np.exp(found.x[0])), float(found.x[1])
    return Shares(deep, wide) if wide >= _LEAST_SHARE else Shares(1.0, 0.0)


def known_rows(task: Task, rows: list[Row]) -> Iterator[Row]:
    """Those whose labels the training rows had; about the others no model can be right."""
    for row in rows:
        try:
            task.encode([row], training=True)
        except DataError:
            continue
        yield row


def _losses(logits_NC: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """[N] cross-entropies, or sums over the classes of binary ones."""
    if targets.ndim == 2:
        return np.asarray((np.logaddexp(0.0, logits_NC) - targets * logits_NC).sum(1))
    shifted_NC = logits_NC - logits_NC.max(1, keepdims=True)
    return np.asarray(np.log(np.exp(shifted_NC).sum(1)) - shifted_NC[np.arange(len(targets)), targets])


def _affordable(task: Task, rows: list[Row], num_classes: int, seed: int) -> list[Row]:
    """All rows, or as many at random as the bounds allow."""
    order = np.random.default_rng([seed, len(rows)]).permutation(len(rows))[: MAX_ROW_CLASSES // num_classes]
    tokens = np.cumsum(task.lengths([rows[i] for i in order]))
    return [rows[i] for i in np.sort(order[: np.searchsorted(tokens, MAX_TOKENS, side="right")])]


def _occurrences(task: Task, rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[F] row and [F] hash of every token and pair of neighbours, and the rows' targets."""
    places, hashes, targets = [], [], []
    for start in range(0, len(rows), _CHUNK):
        batch = task.encode(rows[start : start + _CHUNK], training=True)
        mask = batch["attention_mask"].astype(bool)
        for found, real in zip(token_hashes(batch["input_ids"]), (mask, mask[:, 1:]), strict=True):
            places.append((start + np.nonzero(real)[0]).astype(np.int32))
            hashes.append(found[real].astype(np.int32))
        targets.append(batch["targets"])
    return np.concatenate(places), np.concatenate(hashes), np.concatenate(targets)


def _features(hash_F: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """[S] slots → feature + 1 or 0, [F] feature of every occurrence, number of features."""
    wanted = 2 ** int(np.ceil(np.log2(_SLOTS_A_FEATURE * len(np.unique(hash_F)))))
    num_slots = int(np.clip(wanted, *_SLOTS))
    used, column_F = np.unique(hash_F % num_slots, return_inverse=True)
    slots = np.zeros(num_slots, np.int32)
    slots[used] = np.arange(1, len(used) + 1)
    return slots, column_F, len(used)


def _fit_classes(
    inputs: sparse.csr_matrix, targets: np.ndarray, num_classes: int, *, balanced: bool, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """[C, F] weights and [C] biases; zeros for what no row, or every row, has."""
    coef_CF, bias_C = np.zeros((num_classes, inputs.shape[1])), np.zeros(num_classes)
    mirrored = num_classes == 2 and targets.ndim == 1  # what speaks for one of two classes speaks against the other
    for k in range(1 if mirrored else 0, num_classes):
        has_N = targets[:, k] > 0.5 if targets.ndim == 2 else targets == k
        if has_N.all() or not has_N.any():
            continue
        weight = "balanced" if balanced else None
        model = LinearSVC(C=PENALTY, class_weight=weight, random_state=seed).fit(inputs, has_N)
        coef_CF[k], bias_C[k] = model.coef_[0], model.intercept_[0]
    if mirrored:
        coef_CF[0], bias_C[0] = -coef_CF[1], -bias_C[1]
    return coef_CF, bias_C
