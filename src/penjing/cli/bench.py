"""`penjing bench`: what artifacts cost on this machine, side by side."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penjing.cli.options import add_output_options, add_public_key

if TYPE_CHECKING:
    from penjing.cli.console import Console
    from penjing.pipeline.benching import Benched


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `bench`."""
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT", help="one or more; the first is the reference")
    parser.add_argument(
        "--data", metavar="DATA", help="rows to predict (default: the sealed test rows beside the first)"
    )
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="callers at the same time (default: 1)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="times each is measured (default: 3)")
    parser.add_argument("--backend", metavar="NAME", help="run all on this backend (default: as certified)")
    parser.add_argument(
        "--certify", action="store_true", help="first choose backend, threads and batches by measuring, and keep that"
    )
    add_public_key(parser)
    add_output_options(parser)


def bench(args: argparse.Namespace, console: Console) -> int:
    """Measure in turns, and show."""
    from penjing.pipeline.benching import bench as measure_artifacts

    found = measure_artifacts(
        args.artifacts,
        args.data,
        concurrency=args.concurrency,
        turns=args.turns,
        backend=args.backend,
        certify=args.certify,
        public_key=args.public_key,
        listener=console.listen,
    )
    if console.json:
        console.document([one.to_json() for one in found])
    else:
        _show(console, found)
    return 0


def _show(console: Console, found: list[Benched]) -> None:
    first = found[0].cost
    rows = [
        (
            one.artifact,
            str(one.cost.setup),
            f"{one.cost.p50_ms:.3g}",
            f"{one.cost.p95_ms:.3g}",
            f"{one.cost.rows_per_s:,.0f}",
            f"{one.cost.rows_per_s / first.rows_per_s:.2f} ×",
            f"{one.cost.size_mb:.3g}",
            f"{one.cost.peak_ram_mb:,.0f}",
            f"{one.cost.load_ms:,.0f}",
        )
        for one in found
    ]
    say = console.say
    columns = (
        say("artifact", "模型"),
        say("runs on", "运行方式"),
        say("p50, ms", "p50，毫秒"),
        say("p95, ms", "p95，毫秒"),
        say("rows/s", "行/秒"),
        "",
        say("MB on disk", "磁盘 MB"),
        say("MB of memory", "内存 MB"),
        say("load, ms", "加载，毫秒"),
    )
    console.table(columns, rows, right=(2, 3, 4, 5, 6, 7, 8))
