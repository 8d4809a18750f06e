"""`penjing compress`: an artifact and a budget in, the best artifact that fits out."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from penjing.cli.options import add_output_options, add_public_key, add_settings, budget_of, settings_of
from penjing.cli.run import BUDGET_NOT_MET

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compress`."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="the directory a run wrote")
    parser.add_argument(
        "--budget",
        metavar="LIMITS",
        help="what it must fit, such as 'drop=0.5,p95_ms=2,size_mb=10' (default: drop=1, as fast as it gets)",
    )
    parser.add_argument("--out", metavar="DIR", help="directory for the artifact (default: ARTIFACT-small)")
    # A chain takes as long as its steps ask for: cut short it would be another chain.
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--minutes", metavar="N", type=float, help="wall time of the search (default: 20)")
    either.add_argument(
        "--chain", metavar="STEPS", help="methods to apply instead of searching, such as vocabulary,distil,static-int8"
    )
    goals = ("auto", "accuracy", "speed", "throughput", "latency", "size")
    parser.add_argument("--goal", choices=goals, help="what is best among the models that fit")
    parser.add_argument("--overwrite", action="store_true", help="replace the artifact that is there")
    parser.add_argument("--sign-key", metavar="KEY", help="sign the artifact with this private key (PEM)")
    add_public_key(parser)
    add_settings(parser, "any key of the recipe, such as compress.altered=0 or data.source=FILE; repeatable")
    add_output_options(parser)


def compress(args: argparse.Namespace, console: Console) -> int:
    """Search, prove, and show."""
    from penjing.cli.summary import show_report
    from penjing.evaluate.verdict import overall
    from penjing.pipeline.compressing import compress as compress_artifact

    result = compress_artifact(
        args.artifact,
        out=args.out,
        overwrite=args.overwrite,
        overrides=_overrides(args),
        sign_key=args.sign_key,
        public_key=args.public_key,
        listener=console.listen,
    )
    verdict = overall(result.report.verdicts)
    if console.json:
        console.document(
            {
                "out": str(result.out),
                "digest": result.artifact.digest,
                "feasible": result.feasible,
                "verdict": verdict,
                "report": result.report.model_dump(mode="json"),
            }
        )
    else:
        show_report(console, result.report)
        out = shlex.quote(str(result.out))
        console.line()
        console.line(console.say(f"report   {out}/report.html", f"报告   {out}/report.html"))
        console.line(console.say(f"predict  penjing predict {out} FILE", f"预测   penjing predict {out} 文件"))
    return BUDGET_NOT_MET if verdict == "FAIL" or not result.feasible else 0


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Recipe keys from the options."""
    found = budget_of(args)
    if args.lang:
        found["language"] = args.lang
    if args.minutes is not None:
        found["compress.minutes"] = args.minutes
    if args.goal is not None:
        found["compress.goal"] = args.goal
    if args.chain is not None:
        found["compress.chain"] = [part.strip() for part in args.chain.split(",") if part.strip()]
    return found | settings_of(args)
