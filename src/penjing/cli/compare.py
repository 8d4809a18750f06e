"""`penjing compare`: which of two artifacts is better, and could it be luck."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import (
    add_data_columns,
    add_output_options,
    add_public_key,
    add_settings,
    data_columns,
    settings_of,
)

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`."""
    parser.add_argument("a", metavar="A", help="the reference, an artifact")
    parser.add_argument("b", metavar="B", help="the candidate; differences are B minus A")
    parser.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="labelled rows that are new to both (default: the sealed test rows they share)",
    )
    parser.add_argument("--test", metavar="FILE", help="the sealed test file, where it is not beside them")
    add_data_columns(parser)
    add_settings(parser, "a key of the recipe, such as evaluate.resamples=2000; repeatable")
    add_public_key(parser)
    add_output_options(parser)


def compare(args: argparse.Namespace, console: Console) -> int:
    """Compare on labelled rows, or on the sealed test rows both share."""
    from penjing.api import compare as compare_artifacts

    found = compare_artifacts(
        args.a,
        args.b,
        args.data,
        test=args.test,
        columns=data_columns(args),
        overrides=settings_of(args),
        public_key=args.public_key,
        listener=console.listen,
    )
    if console.json:
        console.document(found.model_dump(mode="json"))
    else:
        from penjing.cli.summary import show_comparison

        show_comparison(console, found)
    return 0
