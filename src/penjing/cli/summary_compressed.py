"""What compressing gained and what else was tried, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penjing.core.report import Report
from penjing.evaluate.page.compressed import Compressed, compressed
from penjing.evaluate.page.words import Words

if TYPE_CHECKING:
    from penjing.cli.console import Console

_COSTS = ("p50 ms", "p95 ms", "rows/s", "MB", "RAM MB")  # short, because the names beside them are long


def show_compression(console: Console, report: Report, words: Words) -> None:
    """Against the model before; the candidates that none beats in everything; what would have to be wider."""
    found = compressed(report, words)
    if found is None:
        return
    _gains(console, found, words)
    if found.best:
        _tried(console, found, words)
    if found.relax:
        console.line(words("relax.lead"))
    for one in found.relax:
        console.line(f"{one.label} {one.limit} → {one.enough}")


def _gains(console: Console, found: Compressed, words: Words) -> None:
    if found.gains:
        rows = [(gain.label, gain.times, gain.change) for gain in found.gains]
        console.table((words("small.gains"), "", ""), rows)
    for name in ("lost", "parity", "early"):
        if text := getattr(found, name):
            console.line(f"{words(f'small.{name}')}{words.colon}{text}")


def _tried(console: Console, found: Compressed, words: Words) -> None:
    rows = []
    for row in found.best:
        name = f"{row.chain} @ {row.setup}" if row.setup else row.chain
        rows.append((row.number, name, *row.cells, row.fits + (words.comma + row.tag if row.tag else "")))
    heads = ("", found.columns[0], found.columns[1], words("tried.lost"), *_COSTS, found.columns[-1])
    console.table(heads, rows, right=range(2, 2 + len(found.best[0].cells)), tight=True)
    if found.rest:
        console.line(words("small.more", n=len(found.rest)))
