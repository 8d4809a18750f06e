"""Accuracy against throughput of every side of a compression benchmark, as an SVG beside its page, from the JSON alone.

python benchmarks/compress_chart.py docs/benchmarks/compress_banking77.json
"""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

from penjing.core.artifact import write_atomic
from penjing.evaluate.page.charts import axis_of
from penjing.evaluate.page.scatter import LogAxis

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 52
LETTER, LINE = 7.2, 15
OURS, THEIRS = "#1f7a4d", "#6b7280"


def write_chart(path: Path) -> None:
    """Draw `<name>.svg` beside `<name>.json`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    write_atomic(path.with_suffix(".svg"), drawn(points(document)))


def points(document: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(side, rows/s, accuracy in percent) of every side, the quickest last."""
    steps = {name: step["result"] for name, step in document["steps"].items()}
    found = []
    for name in [name.removesuffix(", answers") for name in steps if name.endswith(", answers")]:
        rates = [result["rows_per_s"] for key, result in steps.items() if key.startswith(f"{name}, turn ")]
        right = steps[f"{name}, answers"]["right"]
        found.append((name, median(rates), 100 * right.count("1") / len(right)))
    return sorted(found, key=lambda point: point[1])


def drawn(found: list[tuple[str, float, float]]) -> str:
    """The SVG."""
    x_axis = LogAxis(found[0][1] / 1.3, found[-1][1] * 1.3)
    y_axis = axis_of([y for _, _, y in found], None, None)
    inner, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x_axis.at(x) * inner / 100, TOP + (100 - y_axis.at(y)) * high / 100

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif" '
        'font-size="12" role="img" aria-label="accuracy against throughput of every side">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for value in x_axis.ticks():
        x, _ = place(value, y_axis.low)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{TOP + high}" stroke="#e5e7eb"/>')
        lines.append(_text(f"{value:,.0f}", x, TOP + high + 18, "middle", "#374151"))
    for value in y_axis.ticks():
        _, y = place(x_axis.low, value)
        lines.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + inner}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        lines.append(_text(f"{value:g}", LEFT - 8, y + 4, "end", "#374151"))
    lines.append(_text("rows a second, text to label, on a logarithmic scale", LEFT + inner / 2, HEIGHT - 10))
    turned = f'transform="rotate(-90 16 {TOP + high / 2})"'
    lines.append(_text("accuracy on the test rows, %", 16, TOP + high / 2, more=turned))
    taken: list[tuple[float, float, float, float]] = []
    marks = [(name, *place(x, y)) for name, x, y in found]
    taken += [(x - 7, y - 7, x + 7, y + 7) for _, x, y in marks]
    leaders = len(lines)  # they lie under the marks
    for name, x, y in sorted(marks, key=lambda mark: not mark[0].startswith("penjing")):
        colour = OURS if name.startswith("penjing") else THEIRS
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>')
        at, anchor, box = _free(name, x, y, taken)
        taken.append(box)
        if not box[1] <= y <= box[3]:  # above or below, where it might be taken for another's
            end = min(max(x, box[0]), box[2]), box[1] if box[1] > y else box[3]
            to = f'x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
            lines.insert(leaders, f'<line x1="{x:.1f}" y1="{y:.1f}" {to} stroke="{colour}"/>')
        look = 'paint-order="stroke" stroke="#ffffff" stroke-width="3"'  # a line behind it is hidden
        look += ' font-weight="600"' if name.startswith("penjing") else ""
        lines.append(_text(name, *at, anchor, colour, look))
    return "\n".join([*lines, "</svg>", ""])


def _free(
    name: str, x: float, y: float, taken: list[tuple[float, float, float, float]]
) -> tuple[tuple[float, float], str, tuple[float, float, float, float]]:
    """Where a label covers nothing: beside its mark, or as near above or below as there is room."""
    width = LETTER * len(name)
    for shift in (0, LINE, -LINE, 2 * LINE, -2 * LINE, 3 * LINE, -3 * LINE, 4 * LINE, -4 * LINE, 5 * LINE):
        for left, anchor in ((x + 10, "start"), (x - 10 - width, "end")):
            box = (left, y + shift - 8, left + width, y + shift + 7)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT - BOTTOM
            if inside and not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                return ((left if anchor == "start" else left + width, y + shift + 4), anchor, box)
    return ((x + 10, y + 4), "start", (x + 10, y - 8, x + 10 + width, y + 7))


def _text(said: str, x: float, y: float, anchor: str = "middle", fill: str = "#111827", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" {more}>{escape(said)}</text>'


if __name__ == "__main__":
    for given in sys.argv[1:]:
        write_chart(Path(given))
