"""`penjing evaluate`: score an artifact on labelled rows."""

from __future__ import annotations

import argparse
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from penjing.cli.options import (
    add_data_columns,
    add_output_options,
    add_public_key,
    add_settings,
    data_columns,
    settings_of,
)
from penjing.cli.run import BUDGET_NOT_MET
from penjing.core.errors import DataError

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.core.report import Report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `evaluate`."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="the directory a run wrote")
    parser.add_argument("data", nargs="?", metavar="DATA", help="labelled rows (default: the sealed test rows)")
    parser.add_argument("--test", metavar="FILE", help="the sealed test file, where it is not beside the artifact")
    add_data_columns(parser)
    parser.add_argument("--no-timings", action="store_true", help="do not measure latency, throughput and memory")
    parser.add_argument("--out", metavar="DIR", help="also write report.json, the page and the model card there")
    add_settings(parser, "a key of the recipe, such as evaluate.resamples=2000 or budget.metric=90; repeatable")
    add_public_key(parser)
    add_output_options(parser)


def evaluate(args: argparse.Namespace, console: Console) -> int:
    """Score, show, and write the report where asked."""
    from penjing.api import evaluate as evaluate_artifact
    from penjing.cli.summary import show_report
    from penjing.evaluate.verdict import overall

    out = Path(args.out) if args.out else None
    if out is not None and out.exists():
        raise DataError("exists already", where=str(out), next_step="give a directory that is not there yet")
    report = evaluate_artifact(
        args.artifact,
        args.data,
        test=args.test,
        columns=data_columns(args),
        overrides=settings_of(args) | ({"language": args.lang} if args.lang else {}),
        timings=not args.no_timings,
        public_key=args.public_key,
        listener=console.listen,
    )
    if out is not None:
        _write(report, out)
    if console.json:
        console.document(report.model_dump(mode="json"))
    else:
        show_report(console, report)
    return BUDGET_NOT_MET if overall(report.verdicts) == "FAIL" else 0


def _write(report: Report, out: Path) -> None:
    """The report's files, in a directory that is either complete or not there."""
    from penjing.evaluate.assemble import write_report_files

    part = out.with_name(f"{out.name[:40]}.{secrets.token_hex(8)}.part")
    part.mkdir(parents=True)
    try:
        write_report_files(report, part, artifact=report.name)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
