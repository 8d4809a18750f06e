"""What every benchmark shares: options, the machine, steps that survive a kill, and a page made from the JSON.

A benchmark is a script that asks `Benchmark.step` for its measurements, one at a time. Each is written to
`<out>/<name>.json` as it ends, so a killed benchmark goes on where it was. `finish` adds figures, tables and notes, and
writes `<name>.md`, which holds nothing that the JSON does not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from default_settings import digest, measured
from page import markdown
from penjing.core.artifact import write_atomic
from provenance import ROOT, environment, source_state

# What a smoke run changes besides the rows; a busy machine must not fail it.
SMOKE = {"train.epochs": 1, "select.model_seconds": 120, "select.quote_seconds": 600}
# Where files lie says nothing about what was measured, and must not get into a committed page. Which data sets are
# taken now does not change what was found on others: their steps stay.
_PLACES = {"data", "out", "work", "fresh", "only"}


@dataclass(frozen=True)
class Figure:
    """One result, beside what it has to reach.

    Args:
        name: what it is, unit included.
        value: the figure.
        low: lower bound of its 95% interval, where there is one.
        high: upper bound.
        target: what was asked for; None: reported only.
        at_least: whether the target is a floor (else a ceiling).
        reference: somebody else's figure, in words.
        of_turns: whether the bounds are the least and the greatest of several turns instead.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    target: float | None = None
    at_least: bool = True
    reference: str = ""
    of_turns: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the figure itself (not its interval) meets the target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


@dataclass(frozen=True)
class TableOf:
    """A table of the page: title, column names, rows of cells as they are to be shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def option_parser(about: str, name: str, model: str | None = None) -> argparse.ArgumentParser:
    """The options of every benchmark; `model` is the one it is meant for."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of evaluation data")
    parser.add_argument("--model", default=model, help="catalog name, directory or hub id (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="where JSON and Markdown go (default: docs/benchmarks)")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "benchmarks" / name, help="for artifacts")
    parser.add_argument("--fresh", action="store_true", help="forget the finished steps of an earlier run")
    parser.add_argument("--smoke", action="store_true", help="a few hundred rows, to see that it works")
    return parser


@dataclass
class Benchmark:
    """One benchmark in progress.

    Args:
        name: of its files.
        title: of its page.
        about: a paragraph: what is compared, on what, how.
        arguments: the parsed options; those that shape results are its settings.
    """

    name: str
    title: str
    about: str
    arguments: argparse.Namespace
    document: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        smoke = self.arguments.smoke
        self.out = self.arguments.out or ROOT / ("runs/benchmarks/smoke" if smoke else "docs/benchmarks")
        self.path = self.out / f"{self.name}.json"
        settings = {k: v for k, v in vars(self.arguments).items() if k not in _PLACES}
        settings = json.loads(json.dumps(settings, default=str))
        kept = {} if self.arguments.fresh or smoke or not self.path.is_file() else json.loads(self.path.read_text())
        if kept and kept.get("settings") != settings:
            raise SystemExit(f"{self.path} holds steps made with other settings: repeat those, or give --fresh")
        self.document = {
            "name": self.name,
            "title": self.title,
            "about": " ".join(self.about.split()),
            "settings": settings,
            # Of the steps: a page made again elsewhere was not measured there.
            "environment": kept.get("environment") or environment(),
            "steps": kept.get("steps", {}),
        }

    def step(self, key: str, measure: Callable[[], Any], *, rival: bool = False) -> Any:
        """The stored result of a step, or that of measuring it now (JSON-able).

        Args:
            key: names it.
            measure: measures it.
            rival: whether our default settings have no part in it.
        """
        steps = self.document["steps"]
        if key not in steps:
            if steps:
                self._require_same_environment()
            print(f"[{self.name}] {key} ...", flush=True)
            load, begun = os.getloadavg()[0], time.perf_counter()
            result = json.loads(json.dumps(measure(), allow_nan=False))
            seconds = round(time.perf_counter() - begun, 1)
            facts = {"rival": rival, "defaults": digest(self.name), "load_before": round(load, 2), "seconds": seconds}
            steps[key] = {**source_state(), **facts, "result": result}
            if not rival:  # the defaults' digest is the same as that of older steps, but not always their last commit
                self.document["environment"]["defaults_commit"] = environment()["defaults_commit"]
            self._write()
            print(f"[{self.name}] {key}: {seconds} s", flush=True)
        return steps[key]["result"]

    def _require_same_environment(self) -> None:
        """A page states one machine, its libraries and one set of defaults; steps of another do not belong to it."""
        then, now = self.document["environment"], environment()
        # The commit may be one that changed words only; the digests of the steps say whether it did.
        differ = [name for name in now if name != "defaults_commit" and then.get(name) != now[name]]
        differ += ["defaults"] if measured(self.document) - {digest(self.name)} else []
        if differ:
            raise SystemExit(
                f"{self.path} holds steps measured with other {', '.join(differ)} than here: go on where they were "
                "measured, or give --fresh"
            )

    def finish(self, figures: Sequence[Figure], tables: Sequence[TableOf] = (), notes: Sequence[str] = ()) -> None:
        """Write the JSON and the page."""
        self.document["figures"] = [{**asdict(figure), "reached": figure.reached} for figure in figures]
        self.document["tables"] = [asdict(table) for table in tables]
        self.document["notes"] = [" ".join(note.split()) for note in notes]
        self._write()
        write_atomic(self.path.with_suffix(".md"), markdown(self.document))
        print(markdown(self.document))

    def _write(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
