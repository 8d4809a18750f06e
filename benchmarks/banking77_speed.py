"""Training speed on Banking77: penjing's default run against the HF Trainer and a tutorial loop, in samples a second.

python benchmarks/banking77_speed.py            # about half an hour on two cores
python benchmarks/banking77_speed.py --smoke
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from statistics import median
from typing import Any

from evaluation_data import ENGLISH, Rows, banking77, sample, write_parts
from frame import Benchmark, Figure, TableOf, option_parser
from measured_run import measured_run
from training_sides import BATCH, HF_DEFAULT, HF_GROUPED, TUTORIAL, measured_side

ABOUT = """
Each side trains minilm-l6-en for one epoch on the same rows, a random draw from the training rows of Banking77, in a
fresh process; the sides take turns, and the figures are medians over the turns. Samples a second are counted from the
end of a warm-up to the last step, so that importing, loading, tokenising up front and evaluating do not count; wall
time counts everything from spawning the process to its end. penjing runs with its default settings (one epoch instead
of several is the only key given besides the data); the HF Trainer has bf16, batches of like length (the option that was
once called group_by_length), 32 rows a step and padding to the longest text of the batch; then its defaults (32 bits,
random batches); then examples/bert_tutorial_loop.py (32 bits, 16 rows, padded to 128 tokens).
"""
PENJING = "penjing, default"
SIDES = (PENJING, HF_GROUPED, HF_DEFAULT, TUTORIAL)
ROWS_A_STEP = 32
TARGET = 2.0


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "banking77_speed", ENGLISH)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100, help="steps of each side and turn")
    parser.add_argument("--warm-up", type=int, default=10, help="first steps that do not count")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.repeats, arguments.steps, arguments.warm_up = 1, 6, 2
    benchmark = Benchmark("banking77_speed", "Banking77: training speed", ABOUT, arguments)
    rows = sample(banking77(arguments.data)["train"], arguments.steps * ROWS_A_STEP, seed=0)
    random.Random(0).shuffle(rows)  # the file is ordered by intent
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for turn in range(arguments.repeats):
        for side in SIDES:
            measured[side].append(
                benchmark.step(f"{side}, turn {turn + 1}", lambda s=side: measure(s, rows, arguments))
            )
    benchmark.finish(*summary(measured), notes())


def measure(side: str, rows: Rows, arguments: argparse.Namespace) -> dict[str, float]:
    """Speed and wall time of one side."""
    if side == PENJING:
        return measure_penjing(rows, arguments)
    # The tutorial pads every text to the same length, so that fewer rows cannot favour it or harm it.
    found = measured_side(side, rows[: arguments.steps * BATCH[side]], arguments.model)
    rate = steady_rate(found["stamps"], BATCH[side], arguments.warm_up)
    return {"samples_per_s": rate, "wall_s": found["wall_s"], "rows": len(found["stamps"]) * found["batch"]}


def measure_penjing(rows: Rows, arguments: argparse.Namespace) -> dict[str, float]:
    held = sample(banking77(arguments.data)["test"], 64, seed=0)
    # Given parts, so that penjing trains on exactly the rows that the others train on; nothing is scored here.
    folder: Path = arguments.work
    source, overrides = write_parts({"train": rows, "valid": held, "test": held}, folder / "data")
    overrides |= {"model": arguments.model, "train.epochs": 1}
    outcome = measured_run(source, folder / "model", overrides, prove=False)
    steps = [(step, seconds) for step, seconds in outcome["steps"] if step > 0]
    if len(steps) * ROWS_A_STEP != len(rows):
        raise RuntimeError(f"{len(steps)} steps for {len(rows)} rows: not {ROWS_A_STEP} rows in each step")
    stamps = [seconds for _, seconds in steps]
    # The last step's stamp comes after the evaluation.
    rate = steady_rate(stamps[:-1], ROWS_A_STEP, arguments.warm_up)
    return {
        "samples_per_s": rate,
        "wall_s": outcome["wall_s"],
        "rows": len(rows),
        "before_first_step_s": steps[0][1],
        "head_start_s": head_start_seconds(outcome["timeline"], outcome["steps"]),
    }


def steady_rate(stamps: list[float], batch: int, warm_up: int) -> float:
    """Rows a second from the end of the step `warm_up` (counted from 1) to the last stamp."""
    counted = stamps[warm_up - 1 :] if warm_up else stamps
    return batch * (len(counted) - 1) / (counted[-1] - counted[0])


def head_start_seconds(timeline: list[list[Any]], steps: list[list[float]]) -> float:
    """Seconds from the first batch encoded for the probe to the state before the first step."""
    begin = next((entry[0] for entry in timeline if entry[1] == "probe"), None)
    return 0.0 if begin is None else steps[0][1] - begin


def summary(measured: dict[str, list[dict[str, float]]]) -> tuple[list[Figure], list[TableOf]]:
    """Ratios of medians, and every turn."""
    rates = {side: median(turn["samples_per_s"] for turn in turns) for side, turns in measured.items()}
    walls = {side: median(turn["wall_s"] / turn["rows"] for turn in turns) for side, turns in measured.items()}
    head = median(turn["head_start_s"] for turn in measured[PENJING]) / measured[PENJING][0]["rows"]
    whole = 4 / (4 / rates[PENJING] + head)
    figures = [
        Figure("penjing over HF Trainer (bf16, grouped), ×", rates[PENJING] / rates[HF_GROUPED], target=TARGET),
        Figure("penjing over HF Trainer (fp32, random), ×", rates[PENJING] / rates[HF_DEFAULT]),
        Figure("penjing over the tutorial loop, ×", rates[PENJING] / rates[TUTORIAL]),
        Figure("the first again, penjing's head start counted over 4 epochs, ×", whole / rates[HF_GROUPED]),
    ]
    rows = [
        [
            side,
            f"{rates[side]:.1f}",
            ", ".join(f"{turn['samples_per_s']:.1f}" for turn in measured[side]),
            f"{median(turn['wall_s'] for turn in measured[side]):.1f}",
            f"{1000 * walls[side]:.1f}",
        ]
        for side in measured
    ]
    columns = ("side", "samples/s", "each turn", "wall time, s", "wall time, ms a row")
    return figures, [TableOf("Speed", columns, rows)]


def notes() -> list[str]:
    return [
        "What penjing's defaults leave out is part of its speed: word embeddings stay as pretrained and dropout is off "
        "(the accuracy of the same settings is in banking77_accuracy.md).",
        "penjing starts its head from a linear probe, one pass over the rows without gradient before the first step. "
        "It is outside the samples a second, inside the wall time; the last figure counts it.",
        "penjing's wall time also holds reading and checking the data, the export to ONNX and its comparison with the "
        "trained model; the other sides save nothing.",
    ]


if __name__ == "__main__":
    main()
