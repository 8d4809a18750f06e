"""`penjing init`: a recipe with every key, its default and what it does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options
from penjing.core.errors import RecipeError

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `init`."""
    parser.add_argument("source", nargs="?", metavar="DATA", help="the data the recipe is for")
    parser.add_argument("--out", metavar="FILE", default="recipe.yaml", help="where to write (default: recipe.yaml)")
    parser.add_argument("--overwrite", action="store_true", help="replace the file that is there")
    add_output_options(parser)


def init(args: argparse.Namespace, console: Console) -> int:
    """Write the recipe; every key but the source is a comment, so that defaults may improve."""
    from penjing.core.artifact import write_atomic
    from penjing.core.recipe import parse_recipe
    from penjing.data.config import DataConfig
    from penjing.data.sources import open_source

    out = Path(args.out)
    if out.exists() and not args.overwrite:
        raise RecipeError("exists already", where=str(out), next_step="give another --out, or --overwrite")
    if not out.parent.is_dir():
        raise RecipeError("no such directory", where=str(out.parent), next_step="make it, or give another --out")
    if args.source is not None:
        parse_recipe({"data": {"source": args.source}}, where="DATA")
        open_source(args.source, DataConfig(source=args.source))  # refuses what does not exist or is not read
    write_atomic(out, recipe_text(args.source))
    if console.json:
        console.document({"out": str(out)})
    else:
        console.line(console.say(f"{out}: penjing run {out}", f"{out}：penjing run {out}"))
    return 0


def recipe_text(source: str | None) -> str:
    """A commented recipe.

    Args:
        source: put in as `data.source`; None: a comment says what goes there.
    """
    from penjing.cli.recipe_keys import recipe_keys

    lines = ["# A penjing recipe. What is commented out has the value shown; remove the # to change it.", ""]
    for key in recipe_keys():
        depth = key.path.count(".")
        indent, name = "  " * depth, key.path.rpartition(".")[2]
        given = key.path == "data.source" and source is not None
        if key.group and depth == 0:
            lines.append("")
        open_group = key.group and source is not None and key.path == "data"
        lines.append(f"{indent}# {key.about}" + (f" [{key.type}]" if key.type else ""))
        value = json.dumps(source, ensure_ascii=False) if given else key.default
        mark = "" if given or open_group else "# "
        lines.append(f"{indent}{mark}{name}:{' ' + value if value else ''}")
    return "\n".join(lines) + "\n"
