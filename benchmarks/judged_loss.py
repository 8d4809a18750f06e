"""How near what a search judges a smaller model to lose comes to what it loses: the table of decision 23.

python benchmarks/judged_loss.py FULL SMALL [SMALL ...] --data ROWS.jsonl --rows 388

Some rows are drawn and taken for validation rows; what is lost on all the others is taken for the truth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from penjing.compress import judging
from penjing.core.artifact import open_artifact
from penjing.predict.predictor import Predictor

NAMES = ("labels", "expected", "mean of both", "judged, without the margin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", type=Path, help="artifact that was compressed")
    parser.add_argument("small", type=Path, nargs="+", help="smaller ones")
    parser.add_argument("--data", type=Path, required=True, help="JSONL of labelled rows that no model learned from")
    parser.add_argument("--rows", type=int, required=True, help="that are drawn")
    parser.add_argument("--draws", type=int, default=300, help="how often")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.data.read_text(encoding="utf-8").splitlines()]
    rows = [row.get("row", row) for row in rows]
    full = Predictor(open_artifact(arguments.full))
    before = full.predict(rows)
    print(f"| {full.task.primary}, points | true | " + " | ".join(f"{name}: error (bias)" for name in NAMES) + " |")
    print("| --- " * (2 + len(NAMES)) + "|")
    for path in arguments.small:
        after = Predictor(open_artifact(path)).predict(rows)
        true, errors = drawn(full.task, rows, before, after, arguments.rows, arguments.draws)
        said = [f"{np.sqrt((column**2).mean()):.2f} ({column.mean():+.2f})" for column in errors.T]
        print(f"| {path.name} | {true:.2f} | " + " | ".join(said) + " |")


def drawn(task, rows, before, after, size: int, draws: int) -> tuple[float, np.ndarray]:  # noqa: ANN001
    """The mean loss on rows that were not drawn, and [draws, names] by how much each figure is off."""
    stats = [task.score(rows, predictions) for predictions in (before, after)]
    labels = judging.loss_by_labels(task, *stats)
    expected = judging.expectation(task, before, after)
    generator, found, truths = np.random.default_rng(0), [], []
    for _ in range(draws):
        order = generator.permutation(len(rows))
        some, others = order[:size], order[size:]
        sides = [(side.take(some), [said[i] for i in some]) for side, said in zip(stats, (before, after), strict=True)]
        figures = [labels(some), expected(some)]
        truths.append(labels(others))
        said = [*figures, sum(figures) / 2, judging.judged_loss(task, *sides, margin=0.0)]
        found.append([figure - truths[-1] for figure in said])
    return float(np.mean(truths)), np.array(found)


if __name__ == "__main__":
    main()
