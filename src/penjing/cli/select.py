"""`penjing select`: which pretrained model for this data, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_recipe_options, add_source, overrides_of
from penjing.cli.run import BUDGET_NOT_MET

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.select.rank import Selection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `select`."""
    add_source(parser)
    add_recipe_options(parser)
    add_output_options(parser)


def select(args: argparse.Namespace, console: Console) -> int:
    """Show the ranking and the reason; exit with 3 where nothing fits the budget."""
    from penjing.api import select as select_model

    found = select_model(args.source, overrides=overrides_of(args), listener=console.listen)
    if console.json:
        console.document(found.to_json())
    else:
        _show(console, found)
    return 0 if found.fits else BUDGET_NOT_MET


def _show(console: Console, found: Selection) -> None:
    from penjing.cli.summary import words_of
    from penjing.evaluate.page.words import MISSING, interval, metric, number

    rows = [
        (
            one.name,
            number(None if one.parameters is None else one.parameters / 1e6),
            number(one.logme),
            metric(one.probe, found.percent),
            interval(one.probe_low, one.probe_high, found.percent),
            number(one.p95_ms),
            number(one.rows_per_s),
            number(one.size_mb),
            number(one.ram_mb),
            number(one.train_minutes),
            " ".join(one.languages) or MISSING,
            # Why another one lost stands in a sentence below; here it would break the names.
            "; ".join((one.standing, *(one.reasons if place == 0 else ()))),
        )
        for place, one in enumerate(found.candidates)
    ]
    if rows:
        name = words_of(console).named("metric", found.primary)
        columns = ("", "M", "LogME", name, "", "p95 ms", "rows/s", "MB", "RAM", "train min", "", "")
        console.table(columns, rows, right=range(1, 10), tight=True)
    for sentence in found.sentences("zh" if console.language == "zh" else "en"):
        console.line(sentence)
