"""Dividing rows so that each part has its share of each label.

Units (rows, or groups of rows that must stay together) are dealt out by iterative stratification: the label with the
fewest undealt rows goes first, and each unit goes where its label is missed most (Sechidis, Tsoumakas and Vlahavas,
"On the Stratification of Multi-Label Data", 2011). Desired counts are whole numbers, rounded so that the parts keep
their sizes: many classes of five rows still fill a part of 8%, some giving one row, some none.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def stratified_parts(
    labels: Sequence[Sequence[str]], units: np.ndarray, fractions: Sequence[float], rng: np.random.Generator
) -> np.ndarray:
    """Deal rows into parts.

    Args:
        labels: labels of each row (none, one or several).
        units: [N] int, rows with the same number stay together.
        fractions: of each part; the rest is part 0, so parts are numbered from 1 in this order.
        rng: breaks ties and shuffles.

    Returns:
        [N] int, the part of each row.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, unit in enumerate(units.tolist()):
        members[unit].append(row)
    order = list(members)
    rng.shuffle(order)
    names = {name: i for i, name in enumerate(sorted({name for row in labels for name in row}))}
    held = [Counter(names[name] for row in members[unit] for name in labels[row]) for unit in order]
    dealt = _deal(held, [len(members[unit]) for unit in order], len(names), fractions, rng)
    parts = np.zeros(len(labels), np.int64)
    for place, unit in enumerate(order):
        parts[members[unit]] = dealt[place]
    return parts


def _deal(
    held: Sequence[Counter[int]],
    sizes: Sequence[int],
    num_labels: int,
    fractions: Sequence[float],
    rng: np.random.Generator,
) -> list[int]:
    """The part of each unit, from the labels each holds and its number of rows."""
    totals = np.zeros(num_labels, np.int64)
    holders: list[list[int]] = [[] for _ in range(num_labels)]
    for unit, labels in enumerate(held):
        for label, count in labels.items():
            totals[label] += count
            holders[label].append(unit)
    wish = desired_counts(totals, fractions, rng).T.tolist()
    room = desired_counts(np.array([sum(sizes)]), fractions, rng)[:, 0].tolist()
    left = [len(units) for units in holders]
    queue = [(count, label) for label, count in enumerate(left)]
    heapq.heapify(queue)
    dealt = [-1] * len(held)
    while queue:
        count, label = heapq.heappop(queue)
        if count != left[label]:
            continue  # dealt to since; a later entry has the number of now
        # Large units first: a small one can still fill what they leave.
        for unit in sorted((u for u in holders[label] if dealt[u] < 0), key=lambda u: -sizes[u]):
            part = max(range(len(room)), key=lambda p: (wish[label][p], room[p]))
            dealt[unit] = part
            room[part] -= sizes[unit]
            for other, times in held[unit].items():
                wish[other][part] -= times
                left[other] -= 1
                if other != label:
                    heapq.heappush(queue, (left[other], other))
    for unit in (u for u, part in enumerate(dealt) if part < 0):
        part = max(range(len(room)), key=room.__getitem__)
        dealt[unit] = part
        room[part] -= sizes[unit]
    return dealt


def desired_counts(totals_L: np.ndarray, fractions: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Whole numbers near `fraction * total` that keep each part's size over all labels.

    Args:
        totals_L: [L] rows of each label.
        fractions: of parts 1, 2, ...
        rng: breaks ties between labels of equal remainder.

    Returns:
        [P + 1, L] int; part 0 is the rest and keeps at least one row of each label.
    """
    parts = []
    left_L = totals_L.astype(np.int64).copy()
    for fraction in fractions:
        ideal_L = totals_L * fraction
        wish_L = np.minimum(np.floor(ideal_L + 1e-9).astype(np.int64), np.maximum(left_L - 1, 0))
        missing = round(float(ideal_L.sum())) - int(wish_L.sum())
        remainder_L = np.where(left_L - wish_L > 1, ideal_L - wish_L, -1.0)
        ranked = np.lexsort((rng.random(len(totals_L)), -remainder_L))
        for label in ranked[: max(0, missing)]:
            if remainder_L[label] > 0:
                wish_L[label] += 1
        parts.append(wish_L)
        left_L -= wish_L
    return np.stack([left_L, *parts])
