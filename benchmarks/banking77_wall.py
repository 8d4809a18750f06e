"""Wall time from a CSV file to a tested model on Banking77: `penjing run` against a tutorial loop's best epoch.

python benchmarks/banking77_wall.py             # an hour and a half on two cores
python benchmarks/banking77_wall.py --smoke
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from evaluation_data import ENGLISH, Parts, Rows, banking77, shrunk
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from intervals import mean_interval
from measured_run import discard, measured_run
from training_sides import BATCH, TUTORIAL, measured_side

ABOUT = """
Left: the command `penjing run train.csv` with the given test file, model minilm-l6-en, all else default, as a fresh
process; the time runs from starting the process to its end: importing, reading, quoting, training, exporting, testing
and measuring the finished artifact. Right: examples/bert_tutorial_loop.py on the same rows (padded to 128 tokens, 32
bits, 16 rows a step, AdamW, dropout), **extrapolated**: seconds a step, measured, times steps an epoch, times the
number of its best epoch on a held-out tenth. Which epoch is best was found by really training it for all epochs, with
each batch padded to its own longest text instead: padding is masked, so the updates are the same but for the numbers
that dropout draws. Only training steps count on the right: not importing, loading, or its evaluations.
"""
EARLIER = (
    "Earlier measurements on this machine, medians of three runs and of three stretches apart: 24.7, 24.3 and 24.6; "
    "then, with shorter measuring and cheaper garbage collection, 23.9 and 25.8 within half an hour. Six pairs became "
    "the rule before they were measured."
)
RATIO, ACCURACY = 25.0, 93.3


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "banking77_wall", ENGLISH)
    parser.add_argument("--repeats", type=int, default=6, help="runs of penjing, and stretches of tutorial steps")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of the tutorial loop")
    parser.add_argument("--steps", type=int, default=60, help="tutorial steps timed in each stretch")
    arguments = parser.parse_args()
    parts, settings = banking77(arguments.data), {}
    if arguments.smoke:
        parts, settings = shrunk(parts), SMOKE
        arguments.repeats, arguments.epochs, arguments.steps = 1, 2, 4
    benchmark = Benchmark("banking77_wall", "Banking77: from CSV to a tested model", ABOUT, arguments)
    train, test = (write_csv(arguments.work / f"{part}.csv", parts[part]) for part in ("train", "test"))
    runs, stretches = [], []
    for turn in range(1, arguments.repeats + 1):
        command = partial(command_line, train, test, arguments, settings)
        runs.append(benchmark.step(f"penjing run, {turn}", command))
        stretch = partial(tutorial_step_seconds, parts["train"], arguments.steps, arguments.model)
        stretches.append(benchmark.step(f"tutorial steps, {turn}", stretch, rival=True))
    timeline = benchmark.step("penjing run, with time stamps", partial(stamped, train, test, arguments, settings))
    train_tutorial = partial(tutorial_epochs, parts, arguments.epochs, arguments.model)
    epochs = benchmark.step("tutorial epochs", train_tutorial, rival=True)
    benchmark.finish(*summary(runs, stretches, timeline, epochs))


def write_csv(path: Path, rows: Rows) -> Path:
    """A CSV file as a user would have it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "category"), *((row["text"], row["label"]) for row in rows)])
    return path


def command_line(train: Path, test: Path, arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, float]:
    """Seconds of the command, start to end, and the accuracy in the report it leaves."""
    out = arguments.work / "cli"
    discard(out)
    program = [sys.executable, "-m", "penjing"]
    keys = {"data.test": str(test), **settings}
    options = ["--model", arguments.model, "--out", str(out), "--quiet", *(f"--set={k}={v}" for k, v in keys.items())]
    begun = time.perf_counter()
    done = subprocess.run([*program, "run", str(train), *options], capture_output=True, text=True)
    wall = time.perf_counter() - begun
    if done.returncode != 0:
        raise RuntimeError(f"penjing run ended with {done.returncode}:\n{done.stderr[-3000:]}")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    discard(out)
    accuracy = report["evaluation"]["metrics"]["accuracy"]
    return {"wall_s": wall, "accuracy": accuracy["value"], "train_minutes": report["cost"]["train_minutes"]}


def stamped(train: Path, test: Path, arguments: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """The same run once more from Python, with the time at which each stage and each evaluation ended."""
    overrides = {"model": arguments.model, "data.test": str(test), **settings}
    outcome = measured_run(train, arguments.work / "stamped", overrides)
    return {name: outcome[name] for name in ("wall_s", "timeline", "metrics", "peak_mb")}


def tutorial_step_seconds(rows: Rows, steps: int, model: str) -> float:
    """Median seconds of one tutorial step, the first few left out."""
    chosen = rows[:: max(1, len(rows) // (steps * BATCH[TUTORIAL]))][: steps * BATCH[TUTORIAL]]
    stamps = measured_side(TUTORIAL, chosen, model)["stamps"][min(3, steps - 2) :]
    return median(after - before for before, after in pairwise(stamps))


def tutorial_epochs(parts: Parts, epochs: int, model: str) -> dict[str, Any]:
    """Dev accuracy of each epoch of the tutorial loop, and test accuracy at the best."""
    found = measured_side(TUTORIAL, parts["train"], model, epochs=epochs, test=parts["test"])
    return {name: found[name] for name in ("dev", "test_at_best", "steps_an_epoch", "dev_rows", "wall_s")}


def summary(
    runs: list[dict[str, float]], stretches: list[float], timeline: dict[str, Any], epochs: dict[str, Any]
) -> tuple[list[Figure], list[TableOf], list[str]]:
    """The ratio, what it is made of, and both curves."""
    wall, accuracy = (median(run[name] for run in runs) for name in ("wall_s", "accuracy"))
    best = best_epoch(epochs["dev"])
    tutorial = extrapolated_seconds(median(stretches), epochs["steps_an_epoch"], best)
    # Each stretch follows its run, so that a slow quarter of an hour slows both.
    ratios = [
        extrapolated_seconds(step, epochs["steps_an_epoch"], best) / run["wall_s"]
        for step, run in zip(stretches, runs, strict=True)
    ]
    _, *spread = mean_interval(ratios) if len(ratios) > 1 else (None, None, None)
    figures = [
        Figure(
            "tutorial loop to its best epoch (extrapolated) over penjing run, ×", median(ratios), *spread, target=RATIO
        ),
        Figure("test accuracy of penjing run, %", 100 * accuracy, target=ACCURACY),
        Figure("penjing run, start to end, minutes", wall / 60),
        Figure(f"tutorial loop to epoch {best}, minutes (extrapolated)", tutorial / 60),
        Figure("test accuracy of the tutorial loop at that epoch, %", 100 * epochs["test_at_best"]),
    ]
    events = [
        [f"{seconds:.1f}", stage, f"{done:g} of {total:g}" if total else f"{done:g}", _percent(valid)]
        for seconds, stage, done, total, valid in timeline["timeline"]
    ]
    dev = [
        [
            str(i),
            f"{100 * value:.2f}",
            f"{extrapolated_seconds(median(stretches), epochs['steps_an_epoch'], i) / 60:.0f}",
        ]
        for i, value in enumerate(epochs["dev"], start=1)
    ]
    tables = [
        TableOf("penjing run, by the clock", ("seconds", "stage", "done", "validation, %"), events),
        TableOf("Tutorial loop", ("epoch", "dev accuracy, %", "minutes (extrapolated)"), dev),
    ]
    walls = ", ".join(f"{run['wall_s']:.1f}" for run in runs)
    notes = [
        f"The ratio is the median of {len(ratios)} pairs of a run and the stretch of tutorial steps after it: "
        f"{', '.join(f'{ratio:.1f}' for ratio in sorted(ratios))}; its interval is a t interval over them. {EARLIER}",
        f"penjing run took {walls} s; a tutorial step {', '.join(f'{s:.3f}' for s in stretches)} s, "
        f"{epochs['steps_an_epoch']} steps an epoch.",
        f"The best epoch is the first with the highest accuracy on {epochs['dev_rows']} held-out rows.",
        "The clock table is of another run than the times above, with a listener; seconds count from the birth of its "
        f"process, and it took {timeline['wall_s']:.1f} s.",
    ]
    return figures, tables, notes


def best_epoch(accuracies: list[float]) -> int:
    """Number, from 1, of the first epoch with the highest accuracy."""
    return accuracies.index(max(accuracies)) + 1


def extrapolated_seconds(step_seconds: float, steps_an_epoch: int, epoch: int) -> float:
    """Training time to the end of an epoch."""
    return step_seconds * steps_an_epoch * epoch


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
    main()
