"""Geometry of the charts: numbers in, positions out. The template draws them and escapes every word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penjing.core.report import Confusion, ReliabilityBin


@dataclass(frozen=True)
class Axis:
    """A linear scale from `low` to `high`, as percent of a track's width."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position in [0, 100]."""
        return round(100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0), 3)

    def span(self, low: float | None, high: float | None) -> tuple[float, float]:
        """(start, width) of a range, in percent of the track; (0, 0) where there is none."""
        if low is None or high is None:
            return 0.0, 0.0
        return self.at(low), round(self.at(high) - self.at(low), 3)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the scale."""
        step = nice_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) for i in range(first, last + 1)]


def axis_of(values: Sequence[float | None], low: float | None = None, high: float | None = None) -> Axis:
    """A scale around values, its ends round; bounds given are kept where the values allow.

    Args:
        values: what must be visible.
        low: the scale never starts below this (0 for a share).
        high: nor ends above this (1 for a share).
    """
    known = [v for v in values if v is not None] or [0.0, 1.0]
    least, greatest = min(known), max(known)
    spread, size = greatest - least, max(abs(least), abs(greatest))
    # Equal values, or values that differ by rounding only, get a scale around them.
    pad = max(spread * 0.08 if spread > 1e-9 * size else size * 0.05 or 0.5, 1e-6)
    step = nice_step((greatest - least + 2 * pad) / 5)
    start, end = math.floor((least - pad) / step) * step, math.ceil((greatest + pad) / step) * step
    if low is not None and least >= low:
        start = max(start, low)
    if high is not None and greatest <= high:
        end = min(end, high)
    return Axis(round(start, 10), round(end, 10))


def nice_step(rough: float) -> float:
    """The round step (1, 2, 2.5 or 5 times a power of ten) nearest above a rough one."""
    power = 10.0 ** math.floor(math.log10(rough))
    for multiple in (1, 2, 2.5, 5, 10):
        if rough <= multiple * power * (1 + 1e-9):
            return multiple * power
    raise AssertionError(f"no step for {rough}")


@dataclass(frozen=True)
class Line:
    """A line chart in a box of 100 by 100 units.

    Args:
        path: SVG path data.
        last: (x, y) of the last point.
        axis: scale of the values.
        first_x: least step.
        last_x: greatest step.
        last_value: the value at the last point.
    """

    path: str
    last: tuple[float, float]
    axis: Axis
    first_x: float
    last_x: float
    last_value: float


def line(
    points: Sequence[tuple[float, float | None]], low: float | None = None, high: float | None = None, most: int = 300
) -> Line | None:
    """A line through points in order; None when there are fewer than two.

    Args:
        points: (x, value); points without a value are skipped.
        low: the scale never starts below this.
        high: nor ends above this.
        most: points drawn; beyond it, means of neighbours are drawn.
    """
    known = [(x, y) for x, y in points if y is not None]
    if len(known) < 2:
        return None
    size = math.ceil(len(known) / most)
    if size > 1:
        blocks = [known[i : i + size] for i in range(0, len(known), size)]
        known = [(block[-1][0], sum(y for _, y in block) / len(block)) for block in blocks]
    axis = axis_of([y for _, y in known], low, high)
    first, last = known[0][0], known[-1][0]
    span = (last - first) or 1.0
    placed = [(round(100 * (x - first) / span, 2), round(100 - axis.at(y), 2)) for x, y in known]
    path = "M" + "L".join(f"{x} {y}" for x, y in placed)
    return Line(path, placed[-1], axis, first, last, known[-1][1])


@dataclass(frozen=True)
class Dot:
    """A bin of a reliability diagram: position in 100 by 100 units and radius."""

    x: float
    y: float
    radius: float
    n: int


def reliability_dots(bins: Sequence[ReliabilityBin]) -> list[Dot]:
    """Bins as dots whose area follows their rows; a few rows are still visible."""
    total = sum(b.n for b in bins) or 1
    dots = []
    for b in bins:
        radius = 1 + 5 * math.sqrt(b.n / total)
        dots.append(Dot(round(100 * b.confidence, 2), round(100 - 100 * b.accuracy, 2), round(radius, 2), b.n))
    return dots


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map: column, row, strength in (0, 1], and whether it is on the diagonal."""

    x: int
    y: int
    strength: float
    right: bool
    n: int


@dataclass(frozen=True)
class Pair:
    """Rows of one class taken for another."""

    truth: str
    said: str
    n: int
    total: int


def heat_cells(matrix: Confusion) -> list[Cell]:
    """Non-zero cells, shaded by the share of their true class; the root keeps rare confusions visible."""
    totals = class_totals(matrix)
    return [Cell(p, t, round(math.sqrt(n / totals[t]), 3), t == p, n) for t, p, n in matrix.cells]


def confused_pairs(matrix: Confusion, limit: int) -> list[Pair]:
    """The pairs with most rows, most first."""
    totals = class_totals(matrix)
    wrong = sorted((cell for cell in matrix.cells if cell[0] != cell[1]), key=lambda cell: (-cell[2], cell[0], cell[1]))
    return [Pair(matrix.labels[t], matrix.labels[p], n, totals[t]) for t, p, n in wrong[:limit]]


def class_totals(matrix: Confusion) -> dict[int, int]:
    """True rows of each class that occurs."""
    totals: dict[int, int] = {}
    for true, _, n in matrix.cells:
        totals[true] = totals.get(true, 0) + n
    return totals
