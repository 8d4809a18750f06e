"""Compare settings by validation over several data sets, to freeze defaults. Test rows are never read.

    python benchmarks/validation_sweep.py --setting train.dropout=0.1 train.epochs=6,train.ema=0
    python benchmarks/validation_sweep.py --setting train.dropout=0.1 --only banking77 waimai --rows 2000
    python benchmarks/validation_sweep.py --smoke

Each word after `--setting` is one candidate: recipe keys with values, separated by commas. The defaults
are always a candidate.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from evaluation_data import LOADERS, MODELS, Parts, Rows, sample, training_rows, write_parts
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from intervals import mean_interval
from measured_run import discard, measured_run

ABOUT = """
Candidates for the default settings, compared on training rows alone: those of each data set are divided anew into 72%
to learn from, 8% that the run itself validates on, and 20% that the metric here is taken from, so that a candidate with
more evaluations gains nothing by choosing among them. The metric is the task's own (accuracy, or macro-F1 where classes
are uneven or several). Rank 1 is best; equal values share their rank. Minutes are of training.
"""
DEFAULT = "defaults"
NAMES = ("banking77", "phrasebank", "goemotions", "waimai", "afqmc", "smp2020")


def main() -> None:
    parser = option_parser(__doc__.splitlines()[0], "validation_sweep")
    parser.add_argument("--setting", nargs="+", default=[], help="each candidate: KEY=VALUE[,KEY=VALUE ...]")
    parser.add_argument("--only", nargs="+", choices=tuple(LOADERS), default=list(NAMES))
    parser.add_argument("--rows", type=int, default=6000, help="rows of each data set, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--name", default="defaults", help="of the result files")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.setting, arguments.rows = arguments.setting or ["train.dropout=0.1"], 300
        arguments.only = arguments.only[:1]
    candidates = {DEFAULT: {}, **{text: parse_setting(text) for text in arguments.setting}}
    arguments.script = "validation_sweep"
    benchmark = Benchmark(arguments.name, "Default settings, by validation", ABOUT, arguments)
    results: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in candidates}
    for data in arguments.only:
        for seed in arguments.seeds:
            for name, overrides in candidates.items():
                key = f"{data}, seed {seed}: {name}"
                outcome = benchmark.step(key, partial(measure, data, seed, overrides, arguments))
                results[name].setdefault(data, []).append(outcome)
    benchmark.finish(*summary(results))


def parse_setting(text: str) -> dict[str, Any]:
    """Recipe overrides from a candidate such as "a.b=1,c.d=x"."""
    from penjing.pipeline.plan import parse_value

    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and mark for key, mark, _ in pairs):
        raise SystemExit(f"--setting {text!r}: expected KEY=VALUE[,KEY=VALUE ...]")
    return {key.strip(): parse_value(value) for key, _, value in pairs}


def measure(data: str, seed: int, setting: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Train with a setting and score the part that training never saw."""
    import penjing

    work: Path = arguments.work / data
    parts = inner_parts(training_rows(data, arguments.data), arguments.rows, seed)
    source, overrides = write_parts(parts, work / "data")
    overrides |= {
        "model": arguments.model or MODELS[data],
        "seed": seed,
        **(SMOKE if arguments.smoke else {}),
        **setting,
    }
    outcome = measured_run(source, work / "model", overrides, prove=False, keep=True)
    report = penjing.evaluate(work / "model", timings=False, overrides={"evaluate.resamples": 200})
    discard(work / "model")
    evaluation = report.evaluation
    value = evaluation.metrics[evaluation.primary].value
    if value is None:
        raise RuntimeError(f"{data}: {evaluation.primary} is undefined on these rows")
    # Kept beside what is compared: macro-F1 tells whether a candidate gains by leaning on the common classes.
    all_metrics = {name: found.value for name, found in evaluation.metrics.items() if found.value is not None}
    return {"metric": value, "minutes": outcome["train_minutes"], "all": all_metrics}


def inner_parts(rows: Rows, num: int, seed: int) -> Parts:
    """Training rows divided anew at random: 72% train, 8% valid, 20% "test" (which are training rows too)."""
    drawn = sample(rows, num, seed)
    order = np.random.default_rng(seed).permutation(len(drawn))
    first, second = round(0.72 * len(drawn)), round(0.8 * len(drawn))
    places = {"train": order[:first], "valid": order[first:second], "test": order[second:]}
    return {part: [drawn[i] for i in chosen] for part, chosen in places.items()}


def summary(
    results: dict[str, dict[str, list[dict[str, Any]]]],
) -> tuple[list[Figure], list[TableOf], list[str]]:
    """Mean ranks and mean differences, and the metric on every data set."""
    names, data = list(results), list(results[DEFAULT])
    metric_CD = 100 * np.array([[_mean(results[name][d], "metric") for d in data] for name in names])
    minutes_CD = np.array([[_mean(results[name][d], "minutes") for d in data] for name in names])
    ranks = mean_ranks(metric_CD)
    figures, rows = [], []
    for i, name in enumerate(names):
        gain = mean_interval((metric_CD[i] - metric_CD[0]).tolist())
        ratio = float(np.exp(np.log(minutes_CD[i] / minutes_CD[0]).mean()))
        if name != DEFAULT:
            figures.append(Figure(f"{name}: points above the defaults, mean of {len(data)} data sets", *gain))
        rows.append([name, f"{ranks[i]:.2f}", *(f"{v:.2f}" for v in metric_CD[i]), f"{gain[0]:+.2f}", f"{ratio:.2f}"])
    columns = ("settings", "mean rank", *(f"{d}, %" for d in data), "mean difference", "training time, ×")
    seeds = len(results[DEFAULT][data[0]])
    notes = [
        f"Means of {seeds} seed{'s' if seeds > 1 else ''}. The intervals are t intervals over the data sets.",
        "PhraseBank: only rows that none of the five committed splits tests on.",
    ]
    ordered = [row for _, row in sorted(zip(ranks.tolist(), rows, strict=True), key=lambda pair: pair[0])]
    return figures, [TableOf("Candidates, best mean rank first", columns, ordered)], notes


def mean_ranks(metric_CD: np.ndarray) -> np.ndarray:
    """[C] mean over data sets of each candidate's rank; 1 is the highest metric, equals share."""
    return np.stack([rankdata(-column) for column in metric_CD.T], axis=1).mean(axis=1)


def _mean(outcomes: list[dict[str, Any]], name: str) -> float:
    return float(np.mean([outcome[name] for outcome in outcomes]))


if __name__ == "__main__":
    main()
