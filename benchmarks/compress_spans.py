"""What compressing gives on a task that finds spans: FewFC's events, beside the same model as other engines run it.

python benchmarks/compress_spans.py              # an hour on two cores
python benchmarks/compress_spans.py --smoke
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from compress_build import dynamic_int8, head_name, static_int8
from compress_sides import CALIBRATION_ROWS
from evaluation_data import MULTILINGUAL, sample, write_parts
from fewfc import read
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from measured_run import measured_run
from penjing.core.artifact import open_artifact, seal
from penjing.predict.task_file import CERTIFICATE_FILE, MODEL_FILE, read_task

ABOUT = """
A default run of penjing learns FewFC's events as overlapping spans; `penjing compress` makes the fastest model of it
that loses at most the points below, in at most the minutes below. Beside it the uncompressed model on torch in 32
bits and on onnxruntime, with onnxruntime's `quantize_dynamic` as optimum calls it, and with NNCF's static int8. All
are measured by `penjing bench`, raw sentence to spans, in fresh processes that take turns, and all but torch as
`penjing bench --certify` found before that each runs best here: backend, threads, workers and size of batches. The
loss of the compressed model is that of micro-F1 on the sealed test sentences, a paired bootstrap of `penjing
compress`; the other two are scored by `penjing compare`. sentence-transformers and model2vec have no such task.
"""
DROP = 1.0
FULL, SMALL, DYNAMIC, STATIC = "full", "small", "dynamic", "static"
TORCH = "penjing, uncompressed, torch fp32"
NAMES = {
    FULL: "penjing, uncompressed, onnxruntime",
    DYNAMIC: "onnxruntime dynamic int8",
    STATIC: "NNCF int8",
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
    others = {
        name: benchmark.step(NAMES[name], partial(rewritten, arguments, name, rewrite), rival=True)
        for name, rewrite in ((DYNAMIC, dynamic_int8), (STATIC, static))
    }
    costs = benchmark.step("costs", partial(benched, arguments))
    benchmark.finish(*summary(run, small, others, costs))


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
    words = ("--budget", f"drop={DROP:g}", "--goal", "throughput", "--out", SMALL, "--minutes", minutes, "--overwrite")
    document = penjing(arguments, "compress", FULL, *words)
    report = document["report"]
    return {name: report[name] for name in ("verdicts", "comparison", "compression")}


def rewritten(arguments: Any, name: str, rewrite: Callable[[Path, Path], None]) -> dict[str, Any]:
    """The uncompressed artifact with its model rewritten by somebody else's recipe, and how that compares."""
    opened = open_artifact(arguments.work / FULL)
    stage = arguments.work / name
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    capabilities = opened.manifest["capabilities"]
    for file in {*capabilities["predict_files"]} - {MODEL_FILE, CERTIFICATE_FILE}:
        shutil.copyfile(opened.file(file), stage / file)
    given = arguments.work / "fp32.onnx"
    in_32_bits(opened.file(MODEL_FILE), given)
    rewrite(given, stage / MODEL_FILE)
    given.unlink()
    files = sorted({*capabilities["predict_files"]} - {CERTIFICATE_FILE})
    seal(
        stage,
        kind=opened.manifest["kind"],
        capabilities={**capabilities, "predict_files": files},
        batch_invariant=False,
        parent=opened.digest,
        extra={"test": opened.manifest["test"], "data_fingerprint": opened.manifest["data_fingerprint"]},
    )
    shutil.copyfile(arguments.work / f"{FULL}.test.jsonl", arguments.work / f"{name}.test.jsonl")
    return {"comparison": penjing(arguments, "compare", FULL, name)}


def in_32_bits(source: Path, target: Path) -> None:
    """The model as others would export it: ours keeps a vocabulary of that size in 16 bits, which no recipe expects."""
    import numpy as np
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    onnx.save(model, target)


def static(source: Path, target: Path) -> None:
    """NNCF's recipe, calibrated on some hundred sentences."""
    import onnx

    task = read_task(source.parent / FULL)
    rows = [json.loads(line) for line in (source.parent / "data" / "train.jsonl").read_text().splitlines()]
    names = {one.name for one in onnx.load(source).graph.input}
    batches = [
        {name: values for name, values in task.encode([row]).items() if name in names}
        for row in sample(rows, CALIBRATION_ROWS, seed=0)
    ]
    onnx.save(static_int8(onnx.load(source), batches, head_name(source)), target)


def benched(arguments: Any) -> dict[str, list[dict[str, Any]]]:
    """Side → costs of each turn; torch is no backend that is certified, and asked for by itself."""
    found: dict[str, list[dict[str, Any]]] = {}
    penjing(arguments, "bench", FULL, DYNAMIC, STATIC, "--turns", "1", "--certify")
    for _ in range(arguments.turns):
        for backend, paths in ((None, (FULL, DYNAMIC, STATIC, SMALL)), ("torch", (FULL,))):
            chosen = () if backend is None else ("--backend", backend)
            for cost in penjing(arguments, "bench", *paths, "--turns", "1", *chosen):
                found.setdefault(TORCH if backend == "torch" else NAMES[cost["artifact"]], []).append(cost)
    return found


def summary(
    run: dict[str, Any],
    small: dict[str, Any],
    others: dict[str, dict[str, Any]],
    costs: dict[str, list[dict[str, Any]]],
) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Ratios within turns, the loss, and every side."""
    ours = costs[NAMES[SMALL]]

    def ratio(name: str, side: str, what: str) -> Figure:
        ratios = [mine[what] / theirs[what] for mine, theirs in zip(ours, costs[side], strict=True)]
        spread = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
        return Figure(name, median(ratios), *spread, of_turns=True)

    comparison, made = small["comparison"], small["compression"]
    lost = losses(comparison)
    figures = [
        Figure(f"{comparison['primary']} lost, points", *lost, target=DROP, at_least=False),
        ratio("throughput over torch fp32, ×", TORCH, "rows_per_s"),
        ratio("throughput over NNCF int8, ×", NAMES[STATIC], "rows_per_s"),
        ratio("throughput over onnxruntime dynamic int8, ×", NAMES[DYNAMIC], "rows_per_s"),
        ratio("p50 of one row over onnxruntime dynamic int8's, ×", NAMES[DYNAMIC], "p50_ms"),
        Figure("size, MB", ours[0]["size_mb"], reference=f"{costs[NAMES[FULL]][0]['size_mb']:.0f} uncompressed"),
    ]
    names = ("rows_per_s", "p50_ms", "p95_ms", "size_mb", "peak_ram_mb")
    rows = [
        [side, *(f"{median(turn[name] for turn in turns):,.2f}" for name in names)] for side, turns in costs.items()
    ]
    scored = {FULL: [0.0] * 3, SMALL: lost, **{name: losses(one["comparison"]) for name, one in others.items()}}
    said = [[NAMES[name], "{:+.2f} [{:+.2f}, {:+.2f}]".format(*three)] for name, three in scored.items()]
    tables = [
        TableOf("Points lost on the test sentences", ("side", "lost"), said),
        TableOf("Side by side", ("side", "rows/s", "p50, ms", "p95, ms", "MB", "memory, MB"), rows),
    ]
    notes = [
        f"The search took {made['minutes']:.1f} minutes and chose: {' → '.join(made['steps'])}.",
        "Run as: " + "; ".join(f"{side}: {setup_said(turns[0]['setup'])}" for side, turns in costs.items()) + ".",
        f"The run before took {run['wall_s'] / 60:.1f} minutes; rows: {run['rows']}.",
    ]
    return figures, tables, notes


def setup_said(setup: dict[str, Any]) -> str:
    """How a side was run, in a few words."""
    return ", ".join(f"{name} {value}" for name, value in setup.items() if value not in (None, 0))


def losses(comparison: dict[str, Any]) -> list[float]:
    """(lost, low, high) in points of the primary metric."""
    found = comparison["metrics"][comparison["primary"]]
    return [-100 * found[part] for part in ("difference", "high", "low")]


if __name__ == "__main__":
    main()
