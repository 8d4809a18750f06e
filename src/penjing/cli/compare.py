"""`penjing compare`: which of two artifacts is better, and could it be luck."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_public_key

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`."""
    parser.add_argument("a", metavar="A", help="the reference, an artifact")
    parser.add_argument("b", metavar="B", help="the candidate; differences are B minus A")
    parser.add_argument("--test", metavar="FILE", help="the sealed test file, where it is not beside them")
    add_public_key(parser)
    add_output_options(parser)


def compare(args: argparse.Namespace, console: Console) -> int:
    """Compare on the sealed test rows both share."""
    from penjing.api import compare as compare_artifacts

    found = compare_artifacts(args.a, args.b, args.test, public_key=args.public_key, listener=console.listen)
    if console.json:
        console.document(found.model_dump(mode="json"))
    else:
        from penjing.cli.summary import show_comparison

        show_comparison(console, found)
    return 0
