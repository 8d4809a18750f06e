"""What `bert_tutorial_loop.py` does by hand, in three lines: `three_lines` below.

python examples/three_lines.py                # minutes on two cores
python examples/three_lines.py --rows 400
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import time
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "banking77"


def three_lines(train: Path, test: Path, out: Path, model: str) -> float | None:
    """Fine-tune on one CSV file, test on another; the artifact with its report is in `out`."""
    import penjing

    result = penjing.run(train, out=out, overrides={"data.test": str(test), "model": model})
    return result.report.evaluation.metrics["accuracy"].value


def cut(source: Path, target: Path, rows: int) -> Path:
    """Copy some rows of a CSV file, drawn at random."""
    with source.open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    with target.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *random.Random(0).sample(lines, rows)])
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder with train.csv and test.csv")
    parser.add_argument("--model", default="minilm-l6-en", help="catalog name, directory, hub id, or auto")
    parser.add_argument("--rows", type=int, help="use only so many training rows (and a third as many test rows)")
    arguments = parser.parse_args()
    if not (arguments.data / "train.csv").is_file():
        parser.error(f"no train.csv in {arguments.data}; give a folder with train.csv and test.csv as --data")

    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        train, test = arguments.data / "train.csv", arguments.data / "test.csv"
        if arguments.rows:
            train = cut(train, Path(folder) / "train.csv", arguments.rows)
            test = cut(test, Path(folder) / "test.csv", max(1, arguments.rows // 3))
        accuracy = three_lines(train, test, Path(folder) / "model", arguments.model)
    assert accuracy is not None, "accuracy is always defined for one label a row"
    print(f"test accuracy {accuracy:.4f} after {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
