"""`penjing predict`: rows of a file, of standard input, or given on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penjing.cli.options import add_output_options, add_public_key, add_settings, settings_of
from penjing.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.cli.predict_rows import Rows
    from penjing.predict.predictor import Predictor

MAX_JSON_ROWS = 100_000
_HOW_READ = ("data.format.", "data.limits.", "data.query")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `predict`."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="the directory a run wrote")
    parser.add_argument("data", nargs="?", metavar="DATA", help="a data file of any format, or - for standard input")
    parser.add_argument("--input", metavar="TEXT", nargs="+", help="texts to predict (two for one pair)")
    parser.add_argument("--text", metavar="COLUMN", help="the column with the text, where DATA calls it otherwise")
    parser.add_argument(
        "--stdin-format",
        choices=("lines", "jsonl", "csv"),
        default="lines",
        help="of standard input (default: one text a line); csv has a header, and commas, tabs or semicolons",
    )
    parser.add_argument("--out", metavar="FILE", help="a .csv, .jsonl or .parquet file (default: standard output)")
    parser.add_argument("--format", choices=("csv", "jsonl", "parquet"), help="of the output (default: by its name)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output file that is there")
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="what runs the model: onnxruntime, openvino or torch (default: as measured on this machine, else "
        "onnxruntime)",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: one a physical core)")
    add_settings(
        parser, "how DATA is written, where it is not as the training rows were: data.format.sheet=2025; repeatable"
    )
    add_public_key(parser)
    add_output_options(parser)


def predict(args: argparse.Namespace, console: Console) -> int:
    """Predict in constant memory, in order."""
    from penjing.predict.load import load

    if args.threads is not None and args.threads < 1:
        raise DataError(f"--threads is {args.threads}", where="penjing predict", expected="at least 1")
    if (args.data is None) == (args.input is None):
        raise DataError(
            "both a data source and --input are given" if args.data else "nothing to predict is given",
            where="penjing predict",
            expected="a file, - for standard input, or --input TEXT",
        )
    predictor = load(args.artifact, args.backend, args.threads, public_key=args.public_key, listener=console.listen)
    rows = _rows(args, predictor, console)
    with rows.located():
        return _write(args, predictor, rows, console)


def _rows(args: argparse.Namespace, predictor: Predictor, console: Console) -> Rows:
    from penjing.api import recipe_of
    from penjing.cli import predict_rows

    roles, overrides = predictor.task.roles, settings_of(args)
    named = args.input is None and args.data != "-"
    foreign = [key for key in overrides if not named or not key.startswith(_HOW_READ)]
    if foreign:
        raise RecipeError(
            f"{', '.join(foreign)} cannot be changed when predicting",
            where="penjing predict --set",
            expected=f"keys that begin with {' or '.join(_HOW_READ)}, with a file or another data source",
        )
    if args.input is not None:
        return predict_rows.given(args.input, roles)
    settings = recipe_of(predictor.artifact, overrides).stage("data")
    if args.data == "-":
        stream, limits = sys.stdin.buffer, settings.limits
        return predict_rows.of_stdin(stream, args.stdin_format, roles, args.text, limits, console.listen)
    return predict_rows.of_source(args.data, settings, roles, args.text, console.listen)


def _write(args: argparse.Namespace, predictor: Predictor, rows: Rows, console: Console) -> int:
    from penjing.predict.output import print_predictions, write_predictions

    task = predictor.task
    pairs = predictor.stream(rows)
    if args.out is not None:
        out = Path(args.out)
        if args.data is not None and out.exists() and Path(args.data).exists() and out.samefile(args.data):
            raise DataError("is what is predicted from", where=str(out), next_step="give another --out")
        count = write_predictions(
            pairs, out, task, format=args.format, overwrite=args.overwrite, listener=console.listen
        )
        if console.json:
            console.document({"rows": count, "out": str(out)})
        else:
            console.line(console.say(f"{count:,} rows → {out}", f"{count:,} 行 → {out}"))
        return 0
    if console.json:
        console.document({"predictions": list(_records(pairs, predictor))})
        return 0
    console.watcher.close()
    print_predictions(pairs, sys.stdout, task, format=args.format or "jsonl")
    return 0


def _records(pairs: Iterator[tuple[Any, Any]], predictor: Predictor) -> Iterator[dict[str, Any]]:
    for number, (row, prediction) in enumerate(pairs):
        if number == MAX_JSON_ROWS:
            raise DataError(
                f"more than {MAX_JSON_ROWS:,} rows do not go into one JSON document",
                where="penjing predict --json",
                next_step="write a file with --out, or leave --json out for JSON lines",
            )
        yield {"input": row, "prediction": predictor.task.render(prediction)}
