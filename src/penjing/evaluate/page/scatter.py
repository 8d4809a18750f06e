"""Geometry of a scatter chart: rate against quality, numbers in, positions out.

Labels have a size in pixels, whatever the width of the chart. They are placed as on a phone, where the chart is
narrowest: what does not collide there collides nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from penjing.evaluate.page.charts import Axis, axis_of

WIDTH, HEIGHT = 280.0, 260.0  # pixels of the plot on a phone
_LATIN, _HAN, _LINE = 6.9, 12.0, 15.0  # pixels: a letter, a character, a line of a label
_MARK, _GAP = 5.0, 7.0  # pixels: half of a mark, from its middle to its label
_MARGIN = 6.0  # pixels that a label may stand over at the right
# Where a label may stand, best first: nothing is faster and better, so above and to the right of a front it is empty.
_SIDES = {
    "ne": (1, -1), "n": (0, -1), "e": (1, 0), "se": (1, 1), "sw": (-1, 1), "s": (0, 1), "w": (-1, 0), "nw": (-1, -1),
}  # fmt: skip
_LIMIT_LABEL = 75.0  # pixels, at the right end of a limit
_MULTIPLES = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(n / 5 for n in range(5, 50)))
_OUTLIER = 1.5  # spans of what matters below which a point that is beaten is not worth the room


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic scale from `low` to `high`, both above 0, as percent of the width."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Position in [0, 100]."""
        share = math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self, least: int = 3, most: int = 6) -> list[float]:
        """Round values inside the scale: powers of ten, and where those are few, values between."""
        powers = [10.0**n for n in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)]
        found: list[float] = []
        for multiples in _MULTIPLES:
            inside = [m * p for p in powers for m in multiples if self.low <= m * p <= self.high]
            if found and len(inside) > most:
                break
            found = inside
            if len(found) >= least:
                break
        return found[:: math.ceil(len(found) / most) or 1]


@dataclass(frozen=True)
class Point:
    """What is to be shown.

    Args:
        x: rate, above 0.
        y: quality.
        kind: a class name: "beaten", "front", "uncompressed", "chosen".
        on_front: whether it may lie on the line.
        labels: beside the mark, the best first: one that there is room for; the empty ones do not count.
        title: in full, for who points at it.
    """

    x: float
    y: float
    kind: str
    on_front: bool
    labels: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class Mark:
    """A point where it stands, in percent from the upper left corner.

    Args:
        x: from the left.
        y: from the top.
        point: what it stands for.
        below: it stands at the edge because it lies beyond.
        label: beside it; empty where there is room for none.
        side: where the label stands.
    """

    x: float
    y: float
    point: Point
    below: bool = False
    label: str = ""
    side: str = ""


@dataclass(frozen=True)
class Scatter:
    """A chart in a box of 100 by 100 units.

    Args:
        marks: what matters most last, so that it is drawn on top.
        path: SVG path data of the line through what nothing beats in rate and quality; empty below two points.
        x_ticks: (position, value).
        y_ticks: (position, value).
        x_limit: position of the least rate; None where there is none, or it is far away.
        y_limit: position of the worst quality, likewise.
    """

    marks: list[Mark]
    path: str
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    x_limit: float | None = None
    y_limit: float | None = None


_RANK = {"beaten": 0, "front": 1, "uncompressed": 2, "chosen": 3}


def scatter(
    points: Sequence[Point],
    *,
    higher_is_better: bool = True,
    share: bool = False,
    least_x: float | None = None,
    worst_y: float | None = None,
) -> Scatter:
    """A chart whose best corner is the upper right one.

    Args:
        points: at least one.
        higher_is_better: else the vertical scale is turned over.
        share: `y` is a share, so its scale stays within 0 and 1.
        least_x: the limit of the rate.
        worst_y: the limit of the quality.
    """
    x_axis = _x_axis([point.x for point in points], least_x)
    y_axis = _y_axis(points, share, worst_y)

    def down(value: float) -> float:
        at = y_axis.at(value)
        return round(100 - at if higher_is_better else at, 2)

    marks = []
    for point in sorted(points, key=lambda point: _RANK.get(point.kind, 0)):
        below = not y_axis.low - 1e-9 <= point.y <= y_axis.high + 1e-9
        marks.append(Mark(x_axis.at(point.x), down(point.y), point, below=below))
    line = _upper_right(marks)
    path = "M" + "L".join(f"{mark.x} {mark.y}" for mark in line) if len(line) > 1 else ""
    y_limit = None if worst_y is None or not y_axis.low <= worst_y <= y_axis.high else down(worst_y)
    return Scatter(
        marks=_labelled(marks, y_limit),
        path=path,
        x_ticks=[(x_axis.at(value), value) for value in x_axis.ticks()],
        y_ticks=[(down(value), value) for value in y_axis.ticks()],
        x_limit=None if least_x is None or not x_axis.low <= least_x <= x_axis.high else x_axis.at(least_x),
        y_limit=y_limit,
    )


def _x_axis(values: Sequence[float], limit: float | None) -> LogAxis:
    low, high = min(values), max(values)
    if limit is not None and low / 10 <= limit <= 10 * high:  # further away it would press all points together
        low, high = min(low, limit), max(high, limit)
    pad = max((high / low) ** 0.07, 1.12)
    return LogAxis(low / pad, high * pad)


def _y_axis(points: Sequence[Point], share: bool, limit: float | None) -> Axis:
    """A scale around what matters; of points that are beaten, around those that are near."""
    wanted = [point.y for point in points if point.kind != "beaten" or point.on_front] or [p.y for p in points]
    low, high = min(wanted), max(wanted)
    room = _OUTLIER * max(high - low, abs(high) * 0.01)
    values = wanted + [point.y for point in points if low - room <= point.y <= high + room]
    if limit is not None and low - room <= limit <= high + room:
        values.append(limit)
    return axis_of(values, *((0.0, 1.0) if share else (None, None)))


def _upper_right(marks: Sequence[Mark]) -> list[Mark]:
    """Of the marks on the front those that no other beats in both directions shown, from left to right."""
    line: list[Mark] = []
    for mark in sorted((mark for mark in marks if mark.point.on_front), key=lambda mark: (-mark.x, mark.y)):
        if not line or mark.y < line[-1].y:
            line.append(mark)
    return line[::-1]


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def _labelled(marks: Sequence[Mark], y_limit: float | None) -> list[Mark]:
    """The marks with their labels; a label that fits nowhere is left out, for the table has it."""
    taken: list[Box] = [_around(mark) for mark in marks]
    if y_limit is not None:
        at = y_limit * HEIGHT / 100
        taken.append((WIDTH - _LIMIT_LABEL, at - _LINE, WIDTH, at))
    found = list(marks)
    for place in sorted(range(len(marks)), key=lambda i: -_RANK.get(marks[i].point.kind, 0)):
        others = taken[:place] + taken[place + 1 :]
        for label, side in product(filter(None, marks[place].point.labels), _SIDES):
            box = _label_box(marks[place], label, side)
            if _inside(box) and not any(_overlap(box, other) for other in others):
                taken.append(box)
                found[place] = replace(marks[place], label=label, side=side)
                break
    return found


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[1] >= -4 and box[2] <= WIDTH + _MARGIN and box[3] <= HEIGHT


def _around(mark: Mark) -> Box:
    x, y = mark.x * WIDTH / 100, mark.y * HEIGHT / 100
    return (x - _MARK, y - _MARK, x + _MARK, y + _MARK)


def _label_box(mark: Mark, label: str, side: str) -> Box:
    across, down = _SIDES[side]
    width = sum(_HAN if ord(letter) > 0x2E80 else _LATIN for letter in label)
    x, y = mark.x * WIDTH / 100, mark.y * HEIGHT / 100
    gap = _GAP if across == 0 or down == 0 else _GAP * 0.6
    left = x - width / 2 if across == 0 else x + gap if across > 0 else x - gap - width
    top = y - _LINE / 2 if down == 0 else y + gap if down > 0 else y - gap - _LINE
    return (left, top, left + width, top + _LINE)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
