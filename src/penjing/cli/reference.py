"""The references of the command line and of the recipe, as Markdown, from the code itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from penjing.cli.parser import EXIT_CODES, build_parser
from penjing.cli.recipe_keys import RecipeKey, recipe_keys
from penjing.cli.verbs import VERBS

_MADE = "<!-- Made by scripts/gen_reference.py; edit the code instead. -->"


def cli_reference() -> str:
    """Every verb with its arguments."""
    parser = build_parser()
    verbs = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    lines = ["# The command line", "", _MADE, "", "| verb | what it does |", "|---|---|"]
    lines += [f"| [`{name}`](#penjing-{name}) | {verb.en} |" for name, verb in VERBS.items()]
    lines += ["", "```", EXIT_CODES.rstrip(), "```", ""]
    for name, part in verbs.items():
        lines += [f"## penjing {name}", "", str(part.description), "", "| argument | what it is |", "|---|---|"]
        lines += [*_arguments(part), ""]
    return "\n".join(lines).rstrip() + "\n"


def recipe_reference() -> str:
    """Every key of a recipe."""
    lines = [
        "# The recipe",
        "",
        _MADE,
        "",
        "A recipe is a YAML file. Every key may be left out. `penjing init` writes one with comments; on the command",
        "line, `--set KEY=VALUE` puts any key over it.",
        "",
        "| key | accepted | default | what it does |",
        "|---|---|---|---|",
    ]
    keys = recipe_keys()
    lines += [_row(key) for key in keys if "." not in key.path and not key.group]
    stage = ""
    for key in keys:
        top = key.path.partition(".")[0]
        if key.group and key.path == top:
            stage = top
            head = ["| key | accepted | default | what it does |", "|---|---|---|---|"]
            lines += ["", f"## {top}", "", key.about, "", *head]
        elif top == stage:
            lines.append(_row(key))
    return "\n".join(lines) + "\n"


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = "" if action.nargs == 0 or not action.option_strings else f" {_value(action)}"
        choices = f" One of {', '.join(map(str, action.choices))}." if action.choices else ""
        optional = " Optional." if not action.option_strings and action.nargs == "?" else ""
        about = f"{action.help or ''}".strip()
        yield f"| `{name}{value}` | {_cell(about)}{'.' if choices or optional else ''}{choices}{optional} |"


def _value(action: argparse.Action) -> str:
    metavar = action.metavar or (action.dest.upper() if not action.choices else "CHOICE")
    return str(metavar) + (" ..." if action.nargs == "+" else "")


def _row(key: RecipeKey) -> str:
    if key.group:
        return f"| **`{key.path}`** | | | {_cell(key.about)} |"
    return f"| `{key.path}` | {_cell(key.type)} | `{_cell(key.default)}` | {_cell(key.about)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
