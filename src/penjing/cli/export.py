"""`penjing export`: an artifact's model as files for another program, with the parity that was measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_public_key

if TYPE_CHECKING:
    from penjing.cli.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    parser.add_argument("artifact", metavar="ARTIFACT", help="the directory a run wrote")
    parser.add_argument("--to", choices=("onnx", "openvino"), default="onnx", help="format (default: onnx)")
    parser.add_argument("--out", metavar="DIR", required=True, help="directory for the files, which must not exist")
    parser.add_argument("--data", metavar="DATA", help="rows to compare on (default: the sealed test rows)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, metavar="X", help="greatest difference of any output (default: 0.001)"
    )
    add_public_key(parser)
    add_output_options(parser)


def export(args: argparse.Namespace, console: Console) -> int:
    """Write, compare, and show."""
    from penjing.cli.zh import in_chinese
    from penjing.pipeline.benching import export as export_artifact

    found = export_artifact(
        args.artifact,
        args.to,
        args.out,
        data=args.data,
        tolerance=args.tolerance,
        public_key=args.public_key,
        listener=console.listen,
    )
    if console.json:
        console.document(found.to_json())
        return 0
    console.line(
        console.say(f"wrote {', '.join(found.files)} to {args.out}", f"已写入 {args.out}：{'、'.join(found.files)}")
    )
    console.line(
        console.say(
            f"{found.rows:,} rows compared with {found.reference}: outputs differ by at most "
            f"{found.max_difference:.2g}, {found.num_flipped:,} rows are answered otherwise",
            f"与{in_chinese(found.reference)}比较 {found.rows:,} 行：输出最多相差 {found.max_difference:.2g}，"
            f"{found.num_flipped:,} 行的回答不同",
        )
    )
    return 0
