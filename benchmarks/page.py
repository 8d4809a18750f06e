"""The Markdown page of a benchmark, from its JSON alone.

python benchmarks/page.py docs/benchmarks/phrasebank.json     # writes phrasebank.md again
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penjing.core.artifact import write_atomic

_WORDS = {
    "": "",
    "missed": "**not reached**",
    "open": "undecided: the figure reaches it, not all of its interval does",
    "reached": "reached",
}


def markdown(document: dict[str, Any]) -> str:
    """The page of a finished benchmark."""
    lines = [f"# {document['title']}", "", document["about"], ""]
    if document["settings"].get("smoke"):
        lines += ["**A smoke run: a few hundred rows, no result.**", ""]
    lines += table(
        ("figure", "value", "95% interval", "target", "", "for comparison"),
        [_figure(figure) for figure in document["figures"]],
    )
    for part in document["tables"]:
        lines += [f"## {part['title']}", "", *table(part["columns"], part["rows"])]
    if document["notes"]:
        lines += ["## Notes", "", *(f"- {note}" for note in document["notes"]), ""]
    return "\n".join([*lines, "## Made by", "", *_origin(document), ""])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table and the empty line after it."""
    cells = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells] + [""]


def number(value: float | None) -> str:
    """A figure with the digits that mean something: 93.71, 2.31, 1,204."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 200 else f"{value:.2f}"


def _figure(figure: dict[str, Any]) -> list[str]:
    low, high, target = figure["low"], figure["high"], figure["target"]
    interval = "–" if low is None else f"{number(low)} to {number(high)}"
    interval += " (all turns)" if figure.get("of_turns") and low is not None else ""
    wanted = "–" if target is None else f"{'≥' if figure['at_least'] else '≤'} {number(target)}"
    word = _WORDS[verdict(figure)]
    return [figure["name"], number(figure["value"]), interval, wanted, word, figure["reference"] or "–"]


def verdict(figure: dict[str, Any]) -> str:
    """A key of `_WORDS`; as in a budget's verdict, an interval not wholly beyond the target leaves it open."""
    if figure["reached"] is None:
        return ""
    if not figure["reached"]:
        return "missed"
    bound = figure["low"] if figure["at_least"] else figure["high"]
    if bound is None:
        return "reached"
    beyond = bound >= figure["target"] if figure["at_least"] else bound <= figure["target"]
    return "reached" if beyond else "open"


def _origin(document: dict[str, Any]) -> list[str]:
    """Command, machine, libraries and commits."""
    machine, steps = document["environment"], document["steps"].values()
    commits = sorted({step["commit"][:12] + ("" if step["clean"] else " with uncommitted changes") for step in steps})
    settings = {name: value for name, value in document["settings"].items() if value not in (None, False, [])}
    script = settings.pop("script", document["name"])
    command = " ".join(["python", f"benchmarks/{script}.py", *(_option(*setting) for setting in settings.items())])
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    loads = [step["load_before"] for step in steps]
    return [
        f"- command: `{command}`",
        f"- machine: {machine['cpu']}, {machine['cores']} cores ({', '.join(machine['flags'])}), "
        f"{machine['ram_gb']:.0f} GB, {machine['system']}",
        f"- libraries: Python {machine['python']}, {libraries}",
        f"- commit{'s' if len(commits) > 1 else ''} measured: {'; '.join(commits) or 'none'}",
        f"- default settings last changed: {machine['defaults_commit'] or 'not committed'}",
        f"- finished: {max((step['finished'] for step in steps), default='never')}; "
        f"load average before each step: at most {max(loads, default=0.0):.1f}",
    ]


def _option(name: str, value: Any) -> str:
    flag = "--" + name.replace("_", "-")
    if value is True:
        return flag
    if isinstance(value, list):
        return " ".join([flag, *(shlex.quote(str(item)) for item in value)])
    return f"{flag} {shlex.quote(str(value))}"


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        write_atomic(path.with_suffix(".md"), markdown(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
