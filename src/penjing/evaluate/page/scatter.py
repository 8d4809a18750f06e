"""Geometry of a scatter chart: a rate or a cost against quality, numbers in, positions out.

Labels have a size in pixels, whatever the width of the chart. They are placed as where the chart is narrowest, the big
one on a phone, the small ones side by side: what does not collide there collides nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from penjing.evaluate.page.charts import Axis, axis_of

_LATIN, _HAN, _LINE = 6.9, 12.0, 15.0  # pixels: a letter, a character, a line of a label
_GAP = 7.0  # pixels from the middle of a mark to its label
# Where a label may stand, best first: nothing is faster and better, so above and to the right of a front it is empty.
_SIDES = {
    "ne": (1, -1), "n": (0, -1), "e": (1, 0), "se": (1, 1), "sw": (-1, 1), "s": (0, 1), "w": (-1, 0), "nw": (-1, -1),
}  # fmt: skip
_TICK = 45.0  # pixels of the width for each tick
_MULTIPLES = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(n / 5 for n in range(5, 50)))
_OUTLIER = 1.5  # spans of what matters below which a point that is beaten is not worth the room


@dataclass(frozen=True)
class Room:
    """A plot where it is narrowest, in pixels.

    Args:
        width: of the plot.
        height: of the plot.
        mark: half of a mark.
        over: what a label may stand over at the right.
        limit: width of the words at the right end of the limit of quality; 0 where there are none.
    """

    width: float
    height: float
    mark: float
    over: float
    limit: float


BIG = Room(280.0, 260.0, mark=5.0, over=6.0, limit=75.0)
SMALL = Room(180.0, 190.0, mark=4.0, over=14.0, limit=0.0)


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
        x: rate or cost, above 0.
        y: quality.
        kind: a class name: "beaten", "front", "uncompressed", "chosen".
        on_front: no other is as good in everything, shown or not.
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
        line: those that nothing beats in both directions shown, from left to right.
        x_ticks: (position, value).
        y_ticks: (position, value).
        x_limit: position of the worst rate or cost; None where there is none, or it is far away.
        y_limit: position of the worst quality, likewise.
    """

    marks: list[Mark]
    line: list[Mark]
    x_ticks: list[tuple[float, float]]
    y_ticks: list[tuple[float, float]]
    x_limit: float | None = None
    y_limit: float | None = None

    @property
    def path(self) -> str:
        """The line as SVG path data; empty below two points."""
        return "M" + "L".join(f"{mark.x} {mark.y}" for mark in self.line) if len(self.line) > 1 else ""


_RANK = {"beaten": 0, "front": 1, "uncompressed": 2, "chosen": 3}


def scatter(
    points: Sequence[Point],
    *,
    higher_is_better: bool = True,
    cost: bool = False,
    share: bool = False,
    worst_x: float | None = None,
    worst_y: float | None = None,
    room: Room = BIG,
) -> Scatter:
    """A chart whose best corner is the upper right one.

    Args:
        points: at least one.
        higher_is_better: else the vertical scale is turned over.
        cost: less of `x` is better, so the horizontal scale is turned over.
        share: `y` is a share, so its scale stays within 0 and 1.
        worst_x: the limit of the rate or cost.
        worst_y: the limit of the quality.
        room: what the labels have to fit in.
    """
    x_axis = _x_axis([point.x for point in points], worst_x)
    y_axis = _y_axis(points, share, worst_y)

    def across(value: float) -> float:
        at = x_axis.at(value)
        return round(100 - at if cost else at, 2)

    def down(value: float) -> float:
        at = y_axis.at(value)
        return round(100 - at if higher_is_better else at, 2)

    marks = []
    for point in sorted(points, key=lambda point: _RANK.get(point.kind, 0)):
        below = not y_axis.low - 1e-9 <= point.y <= y_axis.high + 1e-9
        marks.append(Mark(across(point.x), down(point.y), point, below=below))
    y_limit = None if worst_y is None or not y_axis.low <= worst_y <= y_axis.high else down(worst_y)
    return Scatter(
        marks=_labelled(marks, y_limit, room),
        line=_upper_right(marks),
        x_ticks=_apart([(across(value), value) for value in x_axis.ticks(most=int(room.width / _TICK))], room),
        y_ticks=[(down(value), value) for value in y_axis.ticks()],
        x_limit=None if worst_x is None or not x_axis.low <= worst_x <= x_axis.high else across(worst_x),
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


def _apart(ticks: Sequence[tuple[float, float]], room: Room) -> list[tuple[float, float]]:
    """Ticks without those whose figure would touch the one before."""
    kept: list[tuple[float, float]] = []
    for at, value in ticks:
        if not kept or abs(at - kept[-1][0]) * room.width / 100 >= (tick_width(value) + tick_width(kept[-1][1])) / 2:
            kept.append((at, value))
    return kept


def tick_text(value: float) -> str:
    """A round figure of a rate or cost."""
    return f"{value:,.6g}"


def tick_width(value: float) -> float:
    """Pixels that it takes."""
    return _LATIN * len(tick_text(value))


def _upper_right(marks: Sequence[Mark]) -> list[Mark]:
    """Of the marks within the scale those that no other beats in both directions shown, from left to right.

    Of all of them, for what another beats in everything may still lead in a cost that does not count there, such as the
    slowest answers.
    """
    line: list[Mark] = []
    for mark in sorted((mark for mark in marks if not mark.below), key=lambda mark: (-mark.x, mark.y)):
        if not line or mark.y < line[-1].y:
            line.append(mark)
    return line[::-1]


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def _labelled(marks: Sequence[Mark], y_limit: float | None, room: Room) -> list[Mark]:
    """The marks with their labels; a label that fits nowhere is left out, for the table has it."""
    taken: list[Box] = [_around(mark, room) for mark in marks]
    if y_limit is not None and room.limit:
        at = y_limit * room.height / 100
        taken.append((room.width - room.limit, at - _LINE, room.width, at))
    found = list(marks)
    for place in sorted(range(len(marks)), key=lambda i: -_RANK.get(marks[i].point.kind, 0)):
        others = taken[:place] + taken[place + 1 :]
        for label, side in product(filter(None, marks[place].point.labels), _SIDES):
            box = _label_box(marks[place], label, side, room)
            if _inside(box, room) and not any(_overlap(box, other) for other in others):
                taken.append(box)
                found[place] = replace(marks[place], label=label, side=side)
                break
    return found


def _inside(box: Box, room: Room) -> bool:
    return box[0] >= 0 and box[1] >= -4 and box[2] <= room.width + room.over and box[3] <= room.height


def _around(mark: Mark, room: Room) -> Box:
    x, y = mark.x * room.width / 100, mark.y * room.height / 100
    return (x - room.mark, y - room.mark, x + room.mark, y + room.mark)


def _label_box(mark: Mark, label: str, side: str, room: Room) -> Box:
    across, down = _SIDES[side]
    width = sum(_HAN if ord(letter) > 0x2E80 else _LATIN for letter in label)
    x, y = mark.x * room.width / 100, mark.y * room.height / 100
    gap = _GAP if across == 0 or down == 0 else _GAP * 0.6
    left = x - width / 2 if across == 0 else x + gap if across > 0 else x - gap - width
    top = y - _LINE / 2 if down == 0 else y + gap if down > 0 else y - gap - _LINE
    return (left, top, left + width, top + _LINE)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
