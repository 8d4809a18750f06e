"""Training speed on Banking77: penjing's default run against the HF Trainer and a tutorial loop, in samples a second.

python benchmarks/banking77_speed.py            # about half an hour on two cores
python benchmarks/banking77_speed.py --smoke
"""

from __future__ import annotations

import argparse
import random
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from evaluation_data import ENGLISH, Parts, Rows, banking77, sample, shrunk, write_parts
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from intervals import mean_interval
from measured_run import measured_run
from training_sides import BATCH, HF_DEFAULT, HF_GROUPED, TUTORIAL, measured_side

ABOUT = """
Each side trains minilm-l6-en on the training rows of Banking77 in a fresh process. The sides take turns, so that a slow
quarter of an hour slows all; a figure is the median of its ratios within each turn, the interval that of their mean.
penjing makes its whole default run on all rows, the one whose accuracy banking77_accuracy.md gives: all its epochs, and
**whatever it does before the first step (starting the head from a probe, running frozen layers once) and after the last
(a linear model over n-grams and its share) counts** in its samples a second. The HF Trainer with like lengths trains
one epoch of the same rows; the two slow sides a part of one, on a random draw from the rows, in the first turns only.
Theirs are counted from the end of a short warm-up to the last step.
Importing, loading, tokenising up front, evaluating and saving count for nobody; wall time counts everything, from
spawning the process to its end. The HF Trainer has bf16, batches of like length (the option that was once called
group_by_length), 32 rows a step and padding to the longest text of the batch; then its defaults (32 bits, random
batches, 32 rows too); then examples/bert_tutorial_loop.py (32 bits, 16 rows, padded to 128 tokens).
"""
PENJING = "penjing, default"
SIDES = (PENJING, HF_GROUPED, HF_DEFAULT, TUTORIAL)
ROWS_A_STEP = 32
TARGET = 2.0
_SETTINGS = (
    "epochs", "precision", "method", "frozen_layers", "train_embeddings", "dropout", "label_smoothing", "ema", "ngrams",
)  # fmt: skip


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "banking77_speed", ENGLISH)
    parser.add_argument(
        "--repeats", type=int, default=6, help="turns of penjing and of the HF Trainer with like lengths"
    )
    parser.add_argument("--slow-repeats", type=int, default=3, help="turns of the two slow sides")
    parser.add_argument("--steps", type=int, default=100, help="steps of the two slow sides, each turn")
    parser.add_argument("--warm-up", type=int, default=10, help="first steps that do not count")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.repeats = arguments.slow_repeats = 1
        arguments.steps, arguments.warm_up = 6, 2
    benchmark = Benchmark("banking77_speed", "Banking77: training speed", ABOUT, arguments)
    parts = banking77(arguments.data)
    ours = shrunk(parts) if arguments.smoke else parts
    drawn = sample(parts["train"], arguments.steps * ROWS_A_STEP, seed=0)
    # A step on lengths not met before costs more, so the quick side has a whole epoch to meet them all.
    rows = {side: list(ours["train"] if side == HF_GROUPED else drawn) for side in SIDES}
    for table in rows.values():
        random.Random(0).shuffle(table)  # the file is ordered by intent
    measured: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for turn in range(1, arguments.repeats + 1):
        for side in SIDES if turn <= arguments.slow_repeats else SIDES[:2]:
            work = partial(measure_penjing, ours) if side == PENJING else partial(measure, side, rows[side])
            measured[side].append(
                benchmark.step(f"{side}, turn {turn}", partial(work, arguments), rival=side != PENJING)
            )
    benchmark.finish(*summary(measured))


def measure(side: str, rows: Rows, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed and wall time of one of the other sides."""
    # The tutorial pads every text to the same length, so that fewer rows cannot favour it or harm it.
    chosen = rows if side == HF_GROUPED else rows[: arguments.steps * BATCH[side]]
    found = measured_side(side, chosen, arguments.model)
    rate = steady_rate(found["stamps"], BATCH[side], arguments.warm_up)
    return {"samples_per_s": rate, "wall_s": found["wall_s"], "rows": len(found["stamps"]) * found["batch"]}


def measure_penjing(parts: Parts, arguments: argparse.Namespace) -> dict[str, Any]:
    """A whole default run, and its speed with and without what comes before its steps and after them."""
    folder: Path = arguments.work
    source, overrides = write_parts(parts, folder / "data")
    overrides |= {"model": arguments.model, **(SMOKE if arguments.smoke else {})}
    outcome = measured_run(source, folder / "model", overrides, prove=False)
    # What the run itself reports: rows trained on over the seconds of its steps.
    steps_only = outcome["samples_per_s"]
    trained = round(outcome["train_rows"] * outcome["train"]["epochs"])
    prepared = preparation_seconds(outcome["timeline"])
    completed = completion_seconds(outcome["timeline"], outcome["notices"])
    return {
        "samples_per_s": trained / (trained / steps_only + prepared + completed),
        "steps_only_samples_per_s": steps_only,
        "preparation_s": prepared,
        "completion_s": completed,
        "wall_s": outcome["wall_s"],
        "rows": trained,
        "settings": {name: outcome["train"].get(name) for name in _SETTINGS},
    }


def steady_rate(stamps: list[float], batch: int, warm_up: int) -> float:
    """Rows a second from the end of the step `warm_up` (counted from 1) to the last stamp."""
    counted = stamps[warm_up - 1 :] if warm_up else stamps
    return batch * (len(counted) - 1) / (counted[-1] - counted[0])


def preparation_seconds(timeline: list[list[Any]]) -> float:
    """Seconds from the first sign of what prepares the steps to the first evaluation, which follows it."""
    begin = next(entry[0] for entry in timeline if entry[1] in {"probe", "lower layers", "train"})
    return float(next(entry[0] for entry in timeline if entry[1] == "train") - begin)


def completion_seconds(timeline: list[list[Any]], notices: list[list[Any]]) -> float:
    """Seconds from the last step to the export: the n-grams and their share, and whatever else there is."""
    begin = max(entry[0] for entry in timeline if entry[1] == "train")
    return float(next(entry[0] for entry in notices if entry[1] == "export") - begin)


def summary(measured: dict[str, list[dict[str, Any]]]) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Medians of the ratios of each turn, and every turn."""
    rates = {side: median(turn["samples_per_s"] for turn in turns) for side, turns in measured.items()}

    def over(side: str, name: str, what: str = "samples_per_s", target: float | None = None) -> Figure:
        # The slow sides have fewer turns, the first ones.
        pairs = zip(measured[PENJING], measured[side], strict=False)
        ratios = [ours[what] / theirs["samples_per_s"] for ours, theirs in pairs]
        _, *spread = mean_interval(ratios) if len(ratios) > 1 else (None, None, None)
        return Figure(name, median(ratios), *spread, target=target)

    figures = [
        over(HF_GROUPED, "penjing over HF Trainer (bf16, grouped), ×", target=TARGET),
        over(HF_DEFAULT, "penjing over HF Trainer (fp32, random), ×"),
        over(TUTORIAL, "penjing over the tutorial loop, ×"),
        over(HF_GROUPED, "the first again, penjing's optimizer steps alone, ×", "steps_only_samples_per_s"),
    ]
    rows = [
        [
            side,
            f"{rates[side]:.1f}",
            ", ".join(f"{turn['samples_per_s']:.1f}" for turn in turns),
            f"{median(turn['wall_s'] for turn in turns):.1f}",
            f"{turns[0]['rows']:,}",
            f"{1000 * median(turn['wall_s'] / turn['rows'] for turn in turns):.1f}",
        ]
        for side, turns in measured.items()
    ]
    columns = ("side", "samples/s", "each turn", "wall time, s", "rows trained on", "wall time, ms a row")
    settings = ", ".join(f"{name} {value}" for name, value in measured[PENJING][0]["settings"].items())
    before, after = (median(turn[part] for turn in measured[PENJING]) for part in ("preparation_s", "completion_s"))
    notes = [
        f"penjing's settings, all default: {settings}. What is not trained (word embeddings, frozen layers) is part of "
        "its speed; the accuracy of the same settings is in banking77_accuracy.md.",
        f"Before its first step penjing spends {before:.1f} s, after its last {after:.1f} s (medians); both count.",
        "penjing's wall time also holds reading and checking the data, writing checkpoints, and exporting to ONNX and "
        "comparing with the trained model; the other sides save nothing.",
    ]
    return figures, [TableOf("Speed", columns, rows)], notes


if __name__ == "__main__":
    main()
