"""What a search shows while it runs: the front of accuracy against all costs, as a table that grows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penjing.compress.measured import Candidate
from penjing.core.events import Standings
from penjing.search.pareto import front

if TYPE_CHECKING:
    from penjing.compress.standing import Search

COLUMNS = ("name", "lost", "p50_ms", "p95_ms", "rows_per_s", "size_mb", "ram_mb", "fits")
SHOWN = 12


def on_front(tried: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other beats in quality and in all costs."""
    points = [replace(one.point(), name=str(i)) for i, one in enumerate(tried)]
    return [tried[int(point.name)] for point in front(points)]


def standings(found: Search) -> Standings:
    """The front of accuracy against all costs, and what would be taken now."""
    best = found.best() or found.nearest()
    fits = "fits" if found.holds(best) else "does not fit yet"
    cost = best.cost
    said = (
        f"best so far: {best.name}, {best.judged:+.2f} lost, {cost.p95_ms:.2f} ms, {cost.rows_per_s:,.0f} rows/s, "
        f"{cost.size_mb:.1f} MB; {fits}"
    )
    undominated = on_front(found.tried)
    shown = sorted((one for one in found.tried if one in undominated or one is best), key=lambda one: one.judged)
    shown = shown[:SHOWN] if best in shown[:SHOWN] else [*shown[: SHOWN - 1], best]
    return Standings("compress", said, COLUMNS, tuple(_cells(found, one) for one in shown), shown.index(best))


def _cells(found: Search, one: Candidate) -> tuple[str, ...]:
    cost = one.cost
    return (
        one.name,
        f"{one.judged:+.2f}",
        f"{cost.p50_ms:.2f}",
        f"{cost.p95_ms:.2f}",
        f"{cost.rows_per_s:,.0f}",
        f"{cost.size_mb:.1f}",
        f"{cost.peak_ram_mb:,.0f}",
        "yes" if found.holds(one) else "no",
    )
