"""Fronts: what nothing else beats in everything at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One candidate that was measured.

    Args:
        name: of the candidate.
        quality: the more the better.
        costs: name → figure, the less the better; the same names for all points of a front.
    """

    name: str
    quality: float
    costs: Mapping[str, float]


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good in everything, and better in something."""
    pairs = [(-one.quality, -other.quality), *((one.costs[name], other.costs[name]) for name in one.costs)]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none dominates, in the order given; of equals, all."""
    return [point for point in points if not any(dominates(other, point) for other in points)]
