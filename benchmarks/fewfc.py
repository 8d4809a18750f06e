"""Events in Chinese financial sentences (FewFC): F1 of triggers and of arguments.

python benchmarks/fewfc.py                      # tens of minutes on two cores
python benchmarks/fewfc.py --smoke
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evaluation_data import MULTILINGUAL, Parts, sample, write_parts
from fewfc_data import event_scores, read_fewfc, without
from frame import SMOKE, Benchmark, Figure, TableOf, option_parser
from measured_run import discard, measured_run

ABOUT = """
`penjing.run` with default settings on FewFC (five base event types), read as overlapping spans: a trigger is a span
labelled with its event type, an argument one labelled with event type and role. Model e5-small-multilingual. Micro-F1
over the distinct spans of each sentence, right only with equal type, role and borders; intervals are bootstraps over
the test sentences. Training sentences that are also test sentences are left out.
"""
CASEE = "CasEE {}: all ten types, another division, BERT-base (Sheng et al. 2021)"
RESAMPLES = 1000


def main() -> None:
    arguments = option_parser(__doc__.splitlines()[0], "fewfc", MULTILINGUAL).parse_args()
    benchmark = Benchmark("fewfc", "FewFC: triggers and arguments", ABOUT, arguments)
    overrides: dict[str, Any] = {"model": arguments.model, "task": "token-classification"}
    parts = read(arguments.data)
    if arguments.smoke:
        parts = {part: sample(rows, 200 if part == "train" else 60, seed=0) for part, rows in parts.items()}
        overrides |= SMOKE

    def measure() -> dict[str, Any]:
        source, columns = write_parts(parts, arguments.work / "data")
        out = arguments.work / "model"
        outcome = measured_run(source, out, overrides | columns, keep=True)
        scores = score(out)
        discard(out)
        kept = {name: outcome[name] for name in ("metrics", "rows", "fingerprint", "train_minutes", "valid", "train")}
        return kept | {"scores": scores}

    benchmark.finish(*summary(benchmark.step("default run", measure)))


def read(data: Path) -> Parts:
    """Train and test sentences with their spans."""
    test = read_fewfc(data / "fewfc" / "test_base.json")
    train = without(read_fewfc(data / "fewfc" / "train_base.json"), test)
    return {
        part: [{"text": row["text"], "spans": row["spans"]} for row in rows]
        for part, rows in (("train", train), ("test", test))
    }


def score(out: Path) -> dict[str, dict[str, float]]:
    """Trigger and argument scores of an artifact on its sealed test sentences, with intervals."""
    import penjing
    from penjing.evaluate.sealed_test import open_sealed_test

    predictor = penjing.load(out)
    rows = open_sealed_test(predictor.artifact).rows
    stats = predictor.task.score(rows, predictor.predict(rows))
    labels = predictor.task.labels
    unseen = sorted({span["label"] for row in rows for span in row["spans"]} - set(labels))
    rng = np.random.default_rng(0)
    resamples = (stats.take(rng.integers(0, len(rows), len(rows))) for _ in range(RESAMPLES))
    drawn = [event_scores(labels, resample, unseen) for resample in resamples]
    found = {}
    for name, value in event_scores(labels, stats, unseen).items():
        low, high = np.quantile([resample[name] for resample in drawn], [0.025, 0.975])
        found[name] = {"value": value, "low": float(low), "high": float(high)}
    return found


def summary(run: dict[str, Any]) -> tuple[list[Figure], list[TableOf], list[str]]:
    """F1 as figures; precision and recall as a table."""
    scores = run["scores"]
    figures = [
        Figure(
            f"{what} F1, %",
            *(100 * scores[f"{what}_f1"][part] for part in ("value", "low", "high")),
            reference=CASEE.format(theirs),
        )
        for what, theirs in (("trigger", 79.8), ("argument", 71.9))
    ]
    rows = [
        [what, *(f"{100 * scores[f'{what}_{name}']['value']:.2f}" for name in ("precision", "recall", "f1"))]
        for what in ("trigger", "argument")
    ]
    sizes = run["rows"]
    notes = [
        "CasEE's figures stand beside ours for orientation, not as a comparison on equal data.",
        f"{sizes['train']:,} training, {sizes['valid']:,} validation and {sizes['test']:,} test sentences; "
        f"{run['train_minutes']:.1f} minutes of training.",
    ]
    return figures, [TableOf("Scores", ("what", "precision, %", "recall, %", "F1, %"), rows)], notes


if __name__ == "__main__":
    main()
