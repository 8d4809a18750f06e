"""`penjing quote`: before anything is trained, what you would get and what it costs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_recipe_options, add_source, overrides_of
from penjing.cli.run import BUDGET_NOT_MET

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `quote`."""
    add_source(parser)
    add_recipe_options(parser)
    add_output_options(parser)


def quote(args: argparse.Namespace, console: Console) -> int:
    """Show the quote; exit with 3 where what is expected breaks the budget."""
    from penjing.api import quote as quote_data

    found = quote_data(args.source, overrides=overrides_of(args), listener=console.listen)
    if console.json:
        console.document(found.to_json())
    else:
        for sentence in found.sentences("zh" if console.language == "zh" else "en"):
            console.line(sentence)
    return BUDGET_NOT_MET if "likely" in found.over_budget.values() else 0
