"""What padding rows by their own length gives on OpenVINO: the table of decision 32.

python benchmarks/length_steps.py ARTIFACT --data ROWS.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np

from penjing.core.artifact import open_artifact
from penjing.predict.choose_setup import takes_bf16
from penjing.predict.predictor import Predictor
from penjing.predict.setup import Setup

STEPS = (0, 1, 4, 8, 16)  # 0: to the longest row of a batch
PASSES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, help="a directory a run wrote")
    parser.add_argument("--data", type=Path, required=True, help="JSONL of rows")
    parser.add_argument("--backend", default="openvino", help="what runs it")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.data.read_text(encoding="utf-8").splitlines()]
    rows = [row.get("row", row) for row in rows]
    artifact = open_artifact(arguments.artifact)
    print("| precision | step | rows/s | median of one row, ms | probabilities moved by a batch, at most |")
    print("| --- | --- | --- | --- | --- |")
    for precision in ("fp32", "bf16") if takes_bf16(arguments.backend) else ("fp32",):
        for step in STEPS:
            setup = Setup(arguments.backend, threads=1, precision=precision, workers=2, length_step=step)
            rate, p50_ms, moved = measured(artifact, setup, rows)
            print(f"| {precision} | {step} | {rate:,.0f} | {p50_ms:.2f} | {moved:.1e} |", flush=True)


def measured(artifact, setup: Setup, rows: list[dict[str, object]]) -> tuple[float, float, float]:  # noqa: ANN001
    """Rows a second, the median of single rows on all threads in ms, and how far a batch moves an answer."""
    many, single = Predictor(artifact, setup=setup), Predictor(artifact, setup=replace(setup, threads=2, workers=1))
    together = many.predict(rows)
    passes = [timed(lambda: many.predict(rows)) for _ in range(PASSES)]
    some = rows[:: max(1, len(rows) // 100)]
    for row in some:
        single.predict([row])
    alone = [timed(lambda row=row: single.predict([row])) for row in some]
    apart = [many.predict([row])[0] for row in rows]
    moved = max(float(np.abs(a.probs - b.probs).max()) for a, b in zip(together, apart, strict=True))
    return len(rows) / median(passes), 1000 * median(alone), moved


def timed(call) -> float:  # noqa: ANN001
    """Seconds."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
