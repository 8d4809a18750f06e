"""`penjing verify`: re-run every figure of a report from the artifact alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_public_key

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.evaluate.verify import Verification

NOT_REPRODUCED = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `verify`."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="the directory a run wrote")
    parser.add_argument("--test", metavar="FILE", help="the sealed test file, where it is not beside the artifact")
    parser.add_argument("--no-timings", action="store_true", help="do not measure latency, throughput and memory")
    parser.add_argument(
        "--parent", metavar="DIR", help="the artifact that a compressed one was made from, to compare the two again"
    )
    add_public_key(parser)
    add_output_options(parser)


def verify(args: argparse.Namespace, console: Console) -> int:
    """Show each figure beside its re-run; exit with 4 where one did not come out again."""
    from penjing.evaluate.verify import verify as verify_artifact

    found = verify_artifact(
        args.artifact,
        args.test,
        console.listen,
        timings=not args.no_timings,
        public_key=args.public_key,
        parent=args.parent,
    )
    if console.json:
        console.document(found.to_json())
    else:
        _show(console, found)
    return 0 if found.ok else NOT_REPRODUCED


def _show(console: Console, found: Verification) -> None:
    marks = {True: "✓", False: "✗", None: "–"}
    said = console.tell
    rows = [
        (marks[f.ok], said(f.name), said(_cell(f.reported)), said(_cell(f.found)), said(f.rule)) for f in found.figures
    ]
    columns = (
        "",
        console.say("figure", "数字"),
        console.say("reported", "报告"),
        console.say("re-run", "复算"),
        console.say("rule", "标准"),
    )
    console.table(columns, rows)
    judged = [figure for figure in found.figures if figure.ok is not None]
    held = sum(1 for figure in judged if figure.ok)
    console.line(
        console.say(
            f"{held} of {len(judged)} judged figures came out again, on {found.rows:,} test rows",
            f"在 {found.rows:,} 行测试数据上，{len(judged)} 个可判定的数字中有 {held} 个复算一致",
        )
    )
    _say_if_only_slow(console, found)


def _say_if_only_slow(console: Console, found: Verification) -> None:
    """Other work on the machine makes timings worse, and is no fault of the report."""
    from penjing.core.report import Cost

    differ = {figure.name.removeprefix("parent.") for figure in found.figures if figure.ok is False}
    if differ and differ <= set(Cost.model_fields):
        console.line(
            console.say(
                "only what it costs came out worse: is the machine busy? Measure again when it is idle; --no-timings "
                "checks all else",
                "只有成本类数字变差：机器是否正忙？请在空闲时再测；--no-timings 只核对其余数字",
            )
        )


def _cell(value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value if len(value) <= 20 else value[:12] + "…"
    return f"{value:.6g}"
