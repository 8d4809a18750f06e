#!/usr/bin/env python3
"""Run the one benchmark again whose data anybody can fetch, and hold what it finds against what the READMEs rest on.

python scripts/verify_benchmark.py               # a minute on one core: the first splits
python scripts/verify_benchmark.py --splits 20   # all, as they were measured

german_credit needs the package index alone; the others need hours, and data that is not the project's. What every
contender reaches on each of these splits is compared with what it reached on the same one. On another processor sums
may be rounded otherwise, and trees split otherwise: an AUC may be half a point off. Exits with 1 where one is further
off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAME = "german_credit"
TOLERANCE = 0.5
SPLITS = 2


def main(argv: list[str] | None = None) -> int:
    """Run, compare, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "verify-benchmark", help="where the result lies")
    parser.add_argument("--splits", type=int, default=SPLITS, help="how many of them, the first ones")
    arguments = parser.parse_args(argv)
    recorded = json.loads((ROOT / "docs" / "benchmarks" / f"{NAME}.json").read_text(encoding="utf-8"))
    options = ["--splits", str(arguments.splits), "--trials", str(recorded["settings"]["trials"])]
    script = ROOT / "benchmarks" / f"{NAME}.py"
    subprocess.run([sys.executable, script, *options, "--fresh", "--out", arguments.out], check=True)
    repeated = json.loads((arguments.out / f"{NAME}.json").read_text(encoding="utf-8"))
    missed = compare(figures(recorded, arguments.splits), figures(repeated, arguments.splits))
    print("verify_benchmark: " + ("FAILED" if missed else f"every AUC is within {TOLERANCE} points"))
    return 1 if missed else 0


def figures(document: dict[str, Any], splits: int) -> list[dict[str, object]]:
    """AUC in percent of every contender on each of the first splits."""
    return [
        {"name": f"split {seed}: {name}", "value": 100 * found["auc"]}
        for seed in range(splits)
        for name, found in document["steps"][f"split {seed}"]["result"].items()
    ]


def compare(recorded: list[dict[str, object]], repeated: list[dict[str, object]]) -> list[str]:
    """Print each figure beside its repetition; return the names of those that differ by more, or are gone."""
    found = {figure["name"]: figure["value"] for figure in repeated}
    missed = []
    for figure in recorded:
        name, stated, now = str(figure["name"]), float(str(figure["value"])), found.get(figure["name"])
        holds = now is not None and abs(stated - float(str(now))) <= TOLERANCE
        print(f"{'✓' if holds else '✗'} {name}: stated {stated:.2f}, now {'nothing' if now is None else f'{now:.2f}'}")
        missed += [] if holds else [name]
    return missed


if __name__ == "__main__":
    sys.exit(main())
