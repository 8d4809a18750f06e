#!/usr/bin/env python3
"""Repeat the first run that the READMEs show, and hold every figure they state against it.

python scripts/verify_readme.py               # some minutes
python scripts/verify_readme.py --rows 300    # to try it: what depends on the rows is shown, not judged

Both READMEs' generated parts have to be fresh, so the other figures are those of a benchmark that verify_benchmark.py
measures again; no figure may stand outside of them;
`penjing verify` has to bear out the new run's report; and each figure of the first run has to come out again as
`readme_figures.RULES` says. Exits with 1 where anything does not hold, after all has been looked at.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import gen_benchmarks
import record_first_run
from readme_claims import stray_claims
from readme_figures import Compared, compare

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "en", "README.zh.md": "zh"}
MARKS = {True: "✓", False: "✗", None: "–"}


def main(argv: list[str] | None = None) -> int:
    """Check the pages, run, verify, compare; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, help="rows of reviews-zh (default: as recorded)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "verify-readme", help="where the run lies")
    parser.add_argument("--keep", action="store_true", help="take the run that an earlier call left in --work")
    arguments = parser.parse_args(argv)
    recorded = json.loads(record_first_run.RECORD.read_text(encoding="utf-8"))
    rows = arguments.rows or recorded["rows"]
    run, predict = recorded["commands"]
    failed = pages_fail()
    if not arguments.keep:
        record_first_run.start(arguments.work, rows, run)
    failed |= verify_fails(arguments.work)
    record, _ = record_first_run.read_back(arguments.work, rows, (run, predict))
    here, there = (_processor(side["hardware"]) for side in (record, recorded))
    if here != there:
        print(f"– this is {here}, the READMEs' {there}: times, and what is done until a time is up, are shown only")
    missed: list[str] = []
    for page, language in PAGES.items():
        text = (ROOT / page).read_text(encoding="utf-8")
        stated = gen_benchmarks.part("first-run").search(text)
        if stated is None:
            raise SystemExit(f"{page} shows no first run")
        now = gen_benchmarks.first_run(language, record)
        compared = compare(stated[2], now, same_rows=rows == recorded["rows"], same_machine=here == there)
        missed += show(page, compared)
    # Last, where the end of a long log still shows them.
    print(*(["These do not hold:", *missed] if missed else []), sep="\n")
    print("verify_readme: " + ("FAILED" if failed or missed else "every judged figure holds"))
    return 1 if failed or missed else 0


def pages_fail() -> bool:
    """Whether a generated part is stale, or a figure stands outside of one."""
    stale = gen_benchmarks.main(["--check"]) != 0
    stray = [
        f"{page}:{line}: {words!r} is stated by hand; generate it or leave it out"
        for page in PAGES
        for line, words in stray_claims((ROOT / page).read_text(encoding="utf-8"))
    ]
    print(f"{MARKS[not stale]} the tables are those of docs/benchmarks/*.json and docs/first-run.json")
    print(f"{MARKS[not stray]} no figure stands outside of the generated parts", *stray, sep="\n  ", flush=True)
    return stale or bool(stray)


def verify_fails(work: Path) -> bool:
    """Whether `penjing verify` twice does not bear out the report of the new run.

    It measures latency anew, on a machine that others may share: what fails for that alone holds a moment later.
    """
    command = f"penjing verify {record_first_run.OUT}"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-m", *shlex.split(command)], cwd=work, check=False)
        print(f"{MARKS[done.returncode == 0]} {command}: exit code {done.returncode}", flush=True)
        if done.returncode == 0:
            return False
    return True


def show(page: str, compared: list[Compared]) -> list[str]:
    """Print one line a figure; return the lines of those that do not hold."""
    print(f"\n{page}: first run")
    missed = []
    for figure in compared:
        now = "–" if figure.now is None else _cell(figure.now)
        line = f"{MARKS[figure.ok]} {_short(figure.name)}: README {_cell(figure.readme)}, now {now} ({figure.rule})"
        print(line)
        if figure.ok is False:
            missed.append(f"{page}: {line}")
    judged = [figure for figure in compared if figure.ok is not None]
    held = sum(1 for figure in judged if figure.ok)
    print(
        f"{page}: {held} of {len(judged)} judged figures hold, {len(compared) - len(judged)} are shown only", flush=True
    )
    return missed


def _processor(hardware: dict[str, Any]) -> str:
    """A processor by its name and what it can do: virtual machines give very different ones the same name."""
    return " ".join([hardware["cpu"], *hardware["flags"]])


def _short(name: str) -> str:
    """The name of a figure, on one line: a sentence is cut, the place of the figure in it stays."""
    return re.sub(r"^(.{64}).*?( \[\d+\])?$", r"\1…\2", name) if len(name) > 72 else name


def _cell(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}"


if __name__ == "__main__":
    sys.exit(main())
