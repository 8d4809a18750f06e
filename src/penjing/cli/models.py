"""`penjing models`: the catalog; `penjing models get NAME` puts a model on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options
from penjing.core.errors import RecipeError

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `models`."""
    parser.add_argument("action", nargs="?", choices=("list", "get"), default="list", help="default: list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="with get: catalog name, directory or hub id")
    add_output_options(parser)


def models(args: argparse.Namespace, console: Console) -> int:
    """List the catalog, or fetch one model."""
    if args.action == "get":
        return _get(args.name, console)
    if args.name is not None:
        raise RecipeError(f"list takes no name, not {args.name!r}", next_step=f"penjing models get {args.name}")
    from penjing.models.catalog import list_models

    rows = list_models()
    if console.json:
        console.document([row.to_json() for row in rows])
        return 0
    columns = (
        console.say("name", "名称"),
        console.say("languages", "语言"),
        console.say("parameters", "参数"),
        console.say("width", "宽度"),
        console.say("layers", "层数"),
        console.say("licence", "许可证"),
        console.say("here", "已下载"),
        console.say("sources", "来源"),
    )
    cells = [
        (
            row.name,
            ", ".join(row.languages),
            f"{row.parameters / 1e6:.1f} M",
            row.dimension,
            row.layers,
            row.licence,
            console.say("yes", "是") if row.cached else console.say("no", "否"),
            "; ".join(row.sources),
        )
        for row in rows
    ]
    console.table(columns, cells, right=(2, 3, 4))
    return 0


def _get(name: str | None, console: Console) -> int:
    from penjing.models.catalog import ENTRIES, resolve

    if name is None:
        raise RecipeError(
            "get needs the name of a model",
            where="penjing models get",
            expected=f"such as {', '.join(ENTRIES)}",
            next_step="see the catalog: penjing models",
        )
    found = resolve(name, listener=console.listen)
    if console.json:
        console.document(
            {
                "name": found.name,
                "directory": str(found.directory),
                "parameters": found.parameters,
                "dimension": found.dimension,
                "languages": list(found.languages),
                "licence": found.licence,
            }
        )
    else:
        console.line(str(found.directory))
    return 0
