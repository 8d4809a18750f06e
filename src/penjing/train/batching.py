"""Batches of even cost: rows of like length together, bounded by rows and by tokens, in a seeded order."""

from __future__ import annotations

import numpy as np


def plan_epoch(lengths: np.ndarray, *, batch_rows: int, batch_tokens: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Split the rows into batches for one epoch.

    Rows are sorted by length with ties broken at random, cut into batches, and the batches shuffled, so that next to
    nothing is padding. The plan depends on (seed, epoch) alone, which is what makes a killed run resumable.

    Args:
        lengths: [N] tokens a row.
        batch_rows: greatest number of rows of a batch.
        batch_tokens: greatest rows × longest row of a batch; a single longer row still makes a batch.
        seed: the run's seed.
        epoch: 0-based.

    Returns:
        Arrays of row positions that together hold each row once.
    """
    rng = np.random.default_rng([seed, epoch])
    order = np.argsort(lengths + rng.random(len(lengths)), kind="stable")
    batches = cut(order, lengths, batch_rows=batch_rows, batch_tokens=batch_tokens)
    return [batches[i] for i in rng.permutation(len(batches))]


def cut(order: np.ndarray, lengths: np.ndarray, *, batch_rows: int, batch_tokens: int) -> list[np.ndarray]:
    """Cut an order of rows (ascending lengths) into batches under both bounds."""
    batches: list[np.ndarray] = []
    start = 0
    for position in range(len(order)):
        rows = position - start + 1
        if position > start and (rows > batch_rows or rows * int(lengths[order[position]]) > batch_tokens):
            batches.append(order[start:position])
            start = position
    if start < len(order):
        batches.append(order[start:])
    return batches
