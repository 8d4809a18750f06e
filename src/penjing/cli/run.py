"""`penjing run`: data in, proven model out."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from penjing.cli.options import add_run_options, overrides_of

if TYPE_CHECKING:
    from penjing.cli.console import Console

BUDGET_NOT_MET = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`."""
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run every stage and show the proof."""
    from penjing.cli.summary import show_report
    from penjing.evaluate.verdict import overall
    from penjing.pipeline.run import run as run_pipeline

    overrides = overrides_of(args)
    if args.lang:
        overrides.setdefault("language", args.lang)
    result = run_pipeline(
        args.source,
        out=args.out,
        overwrite=args.overwrite,
        overrides=overrides,
        sign_key=args.sign_key,
        listener=console.listen,
    )
    assert result.report is not None
    small = result.compressed
    report = result.report if small is None else small.report
    if console.json:
        console.document(
            {
                "out": str(result.out),
                "digest": result.artifact.digest,
                "verdict": overall(report.verdicts),
                "report": result.report.model_dump(mode="json"),
                "compressed": None
                if small is None
                else {
                    "out": str(small.out),
                    "digest": small.artifact.digest,
                    "feasible": small.feasible,
                    "report": small.report.model_dump(mode="json"),
                },
            }
        )
    else:
        show_report(console, result.report)
        if small is not None:
            console.line()
            console.line(console.say(f"compressed, in {small.out}", f"压缩后，位于 {small.out}"))
            show_report(console, small.report)
        _show_next(console, str(result.out if small is None else small.out))
    return BUDGET_NOT_MET if overall(report.verdicts) == "FAIL" or (small and not small.feasible) else 0


def _show_next(console: Console, out: str) -> None:
    console.line()
    out = shlex.quote(out)
    console.line(console.say(f"report   {out}/report.html", f"报告   {out}/report.html"))
    console.line(console.say(f"predict  penjing predict {out} FILE", f"预测   penjing predict {out} 文件"))
    console.line(console.say(f"verify   penjing verify {out}", f"复算   penjing verify {out}"))
