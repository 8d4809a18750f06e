"""What compressing gives on a task that finds spans: FewFC's events, beside the same model as other engines run it.

python benchmarks/compress_spans.py              # an hour on two cores
python benchmarks/compress_spans.py --smoke
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from statistics import median
from typing import Any

from evaluation_data import MULTILINGUAL, sample, write_parts
from fewfc import read
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from measured_run import measured_run

ABOUT = """
A default run of penjing learns FewFC's events as overlapping spans; `penjing compress` makes the fastest model of it
that loses at most the points below, in at most the minutes below. Beside it the uncompressed model on torch in 32
bits and on onnxruntime, and with onnxruntime's dynamic int8, by optimum's recipe, as a chain of penjing. All are
measured by `penjing bench`, raw sentence to spans, in fresh processes that take turns. The loss is that of micro-F1
on the sealed test sentences, a paired bootstrap of `penjing compress`. OpenVINO with NNCF, sentence-transformers and
model2vec have no such task.
"""
DROP = 1.0
FULL, SMALL, DYNAMIC = "full", "small", "dynamic"
TORCH = "penjing, uncompressed, torch fp32"
NAMES = {
    FULL: "penjing, uncompressed, onnxruntime",
    DYNAMIC: "onnxruntime dynamic int8",
    SMALL: "penjing, compressed",
}


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "compress_spans", MULTILINGUAL)
    parser.add_argument("--minutes", type=float, default=20.0, help="that the search may take")
    parser.add_argument("--turns", type=int, default=5, help="times each is measured")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.turns, arguments.minutes = 1, 1.0
    benchmark = Benchmark("compress_spans", "Compression: spans (FewFC)", ABOUT, arguments)
    run = benchmark.step("run", partial(default_run, arguments))
    small = benchmark.step("compress", partial(compressed, arguments))
    benchmark.step("dynamic int8", partial(dynamic, arguments), rival=True)
    costs = benchmark.step("costs", partial(benched, arguments))
    benchmark.finish(*summary(run, small, costs))


def default_run(arguments: Any) -> dict[str, Any]:
    """The uncompressed model."""
    parts = read(arguments.data)
    if arguments.smoke:
        parts = {part: sample(rows, 200 if part == "train" else 60, seed=0) for part, rows in parts.items()}
    source, columns = write_parts(parts, arguments.work / "data")
    overrides = {"model": arguments.model, "task": "token-classification", **(SMOKE if arguments.smoke else {})}
    found = measured_run(source, arguments.work / FULL, overrides | columns, keep=True)
    return {name: found[name] for name in ("metrics", "rows", "wall_s", "train_minutes")}


def penjing(arguments: Any, *words: str) -> Any:
    """What a command says with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "penjing", *words, "--json"], cwd=arguments.work, capture_output=True, text=True
    )
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout)


def compressed(arguments: Any) -> dict[str, Any]:
    """What a user would type, and what the report says."""
    minutes = str(arguments.minutes)
    words = ("--budget", f"drop={DROP:g}", "--goal", "speed", "--out", SMALL, "--minutes", minutes, "--overwrite")
    document = penjing(arguments, "compress", FULL, *words)
    report = document["report"]
    return {name: report[name] for name in ("verdicts", "comparison", "compression")}


def dynamic(arguments: Any) -> dict[str, Any]:
    """Every product's weights in 8 bits, its inputs rounded batch by batch."""
    words = ("--chain", "dynamic-int8", "--budget", "drop=100", "--out", DYNAMIC, "--overwrite")
    report = penjing(arguments, "compress", FULL, *words, "--set", "compress.allow_batch_variant=true")["report"]
    return {"comparison": report["comparison"]}


def benched(arguments: Any) -> dict[str, list[dict[str, Any]]]:
    """Side → costs of each turn; torch reads the weights, so it is asked for by itself."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(arguments.turns):
        for backend, paths in ((None, (FULL, DYNAMIC, SMALL)), ("torch", (FULL,))):
            chosen = () if backend is None else ("--backend", backend)
            for cost in penjing(arguments, "bench", *paths, "--turns", "1", *chosen):
                found.setdefault(TORCH if backend else NAMES[cost["artifact"]], []).append(cost)
    return found


def summary(
    run: dict[str, Any], small: dict[str, Any], costs: dict[str, list[dict[str, Any]]]
) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Ratios within turns, the loss, and every side."""
    ours = costs[NAMES[SMALL]]

    def ratio(name: str, side: str, what: str) -> Figure:
        ratios = [mine[what] / theirs[what] for mine, theirs in zip(ours, costs[side], strict=True)]
        spread = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
        return Figure(name, median(ratios), *spread)

    comparison, made = small["comparison"], small["compression"]
    main_metric = comparison["metrics"][comparison["primary"]]
    lost = [-100 * main_metric[part] for part in ("difference", "high", "low")]
    figures = [
        Figure(f"{comparison['primary']} lost, points", *lost, target=DROP, at_least=False),
        ratio("throughput over torch fp32, ×", TORCH, "rows_per_s"),
        ratio("throughput over onnxruntime dynamic int8, ×", NAMES[DYNAMIC], "rows_per_s"),
        ratio("p50 of one row over onnxruntime dynamic int8's, ×", NAMES[DYNAMIC], "p50_ms"),
        Figure("size, MB", ours[0]["size_mb"], reference=f"{costs[NAMES[FULL]][0]['size_mb']:.0f} uncompressed"),
    ]
    names = ("rows_per_s", "p50_ms", "p95_ms", "size_mb", "peak_ram_mb")
    rows = [
        [side, *(f"{median(turn[name] for turn in turns):,.2f}" for name in names)] for side, turns in costs.items()
    ]
    tables = [TableOf("Side by side", ("side", "rows/s", "p50, ms", "p95, ms", "MB", "memory, MB"), rows)]
    notes = [
        f"The search took {made['minutes']:.1f} minutes and chose: {' → '.join(made['steps'])}.",
        f"The run before took {run['wall_s'] / 60:.1f} minutes; rows: {run['rows']}.",
    ]
    return figures, tables, notes


if __name__ == "__main__":
    main()
