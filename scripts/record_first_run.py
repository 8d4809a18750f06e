#!/usr/bin/env python3
"""Record the first run that the READMEs show: its true output and pictures of its report.

python scripts/record_first_run.py              # some minutes on two cores that do nothing else

Writes docs/first-run.json and docs/images/report.{en,zh}.png; scripts/gen_benchmarks.py then puts the output into the
READMEs. Needs the package index (or its cache), the train extra, and chromium for the pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penjing.cli.console import Console
from penjing.cli.summary import show_report
from penjing.core.artifact import write_atomic
from penjing.core.report import Report, read_report
from penjing.evaluate.assemble import PAGE

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "docs" / "first-run.json"
OUT = Path("runs") / "reviews"
LOG = "run.log"
TEXTS = ("包装很好，第二天就到了，会再买。", "用了三天就坏了，客服也不理人。")
COMMANDS = (
    "penjing run reviews.csv",
    "penjing predict runs/reviews --input " + " ".join(f"'{text}'" for text in TEXTS),
)
PROGRESS = re.compile(r"^[a-z ]+: [\d,.]+ (of [\d,.]+ \w+|rows, reading )")
MAX_IMAGE_BYTES = 400_000


def main() -> None:
    """Run, write the record, take the pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000, help="rows of reviews-zh")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "first-run", help="where the run lies")
    parser.add_argument("--keep", action="store_true", help="take what an earlier recording left in --work")
    arguments = parser.parse_args()
    if not arguments.keep:
        start(arguments.work, arguments.rows)
    record, report = read_back(arguments.work, arguments.rows)
    write_atomic(RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    pictures(arguments.work / OUT, report)
    print(f"{RECORD.relative_to(ROOT)}: now run python scripts/gen_benchmarks.py")


def start(work: Path, rows: int, command: str = COMMANDS[0]) -> None:
    """Sample the rows and run, in a directory that is emptied first; what is said goes to `run.log`.

    Args:
        work: the directory.
        rows: how many rows of reviews-zh.
        command: the run.

    Raises:
        SystemExit: the run failed; the message holds what it said.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    sample = [sys.executable, ROOT / "scripts" / "demo_rows", "reviews-zh", str(rows), str(work / "reviews.csv")]
    subprocess.run(sample, check=True)
    (work / LOG).write_text(said(work, command), encoding="utf-8")


def read_back(work: Path, rows: int, commands: Sequence[str] = COMMANDS) -> tuple[dict[str, Any], Report]:
    """The record of a finished run, and its report; predicts once more, because that is part of the record.

    Args:
        work: where `start` ran.
        rows: how many rows it sampled.
        commands: the run and the prediction.
    """
    report = read_report(work / OUT / "report.json")
    said_last = {language: summary(report, language) for language in ("en", "zh")}
    record = {
        "rows": rows,
        "commands": commands,
        "notices": notices((work / LOG).read_text(encoding="utf-8"), said_last["en"][0]),
        "summary": said_last,
        "predictions": said(work, commands[1]).splitlines(),
        "report": {
            "metrics": {name: found.model_dump() for name, found in report.evaluation.metrics.items()},
            "cost": report.cost.model_dump(),
        },
        "hardware": report.hardware.model_dump(mode="json"),
        "created": report.created,
    }
    return record, report


def said(work: Path, command: str) -> str:
    """What a command of penjing prints, on both streams, in English."""
    arguments = shlex.split(command)[1:]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-m", "penjing", *arguments],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if done.returncode:
        raise SystemExit(f"penjing {arguments[0]} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def notices(log: str, headline: str) -> list[str]:
    """The lines before the summary that say what was found and decided; lines of progress are left out."""
    before = log.splitlines()
    return [line for line in before[: before.index(headline)] if not PROGRESS.match(line)]


def summary(report: Report, language: str) -> list[str]:
    """What `penjing run` prints at its end, in either language."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), Console(json=False, quiet=True, language=language) as console:
        show_report(console, report)
    return [line.rstrip() for line in said.getvalue().splitlines()]


def pictures(out: Path, report: Report) -> None:
    """The first screen of the report, in both languages."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=options)
        tab = browser.new_page(viewport={"width": 1000, "height": 1250})
        for language in ("en", "zh"):
            name = PAGE if language == report.language else f"report.{language}.html"
            tab.goto((out / name).resolve().as_uri())
            target = images / f"report.{language}.png"
            tab.screenshot(path=str(target))
            if target.stat().st_size > MAX_IMAGE_BYTES:
                raise SystemExit(f"{target.name} has {target.stat().st_size} bytes, more than {MAX_IMAGE_BYTES}")
        browser.close()


if __name__ == "__main__":
    main()
