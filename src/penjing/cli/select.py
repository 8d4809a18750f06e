"""`penjing select`: which pretrained model for this data, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_recipe_options, add_source, overrides_of

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `select`."""
    add_source(parser)
    add_recipe_options(parser)
    add_output_options(parser)


def select(args: argparse.Namespace, console: Console) -> int:
    """Show the ranking and the reason."""
    from penjing.api import select as select_model

    found = select_model(args.source, overrides=overrides_of(args), listener=console.listen)
    if console.json:
        console.document(found.to_json())
    else:
        console.line(found.why)
    return 0
