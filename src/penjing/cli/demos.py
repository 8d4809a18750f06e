"""`penjing demos`: the demo data sets that stand for a file wherever one is asked for."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `demos`."""
    add_output_options(parser)


def demos(args: argparse.Namespace, console: Console) -> int:
    """List the demo data, which any verb takes by name in place of a file."""
    from penjing.data.catalog import DEMOS

    if console.json:
        console.document([{"name": name, **asdict(demo)} for name, demo in DEMOS.items()])
        return 0
    columns = (
        console.say("name", "名称"),
        console.say("rows", "行数"),
        console.say("task", "任务"),
        console.say("what it is", "内容"),
        console.say("licence", "许可证"),
    )
    cells = [
        (name, f"{demo.rows:,}", demo.task or "", console.say(demo.about, demo.about_zh), demo.licence)
        for name, demo in DEMOS.items()
    ]
    console.table(columns, cells, right=(1,))
    console.line(console.say("such as: penjing run german-credit", "例如：penjing run german-credit"))
    return 0
