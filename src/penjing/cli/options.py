"""Options that several verbs share, and how they become recipe keys."""

from __future__ import annotations

import argparse
from typing import Any

from penjing.core.errors import RecipeError

# Option → recipe key. What each key accepts is for the recipe to say.
RECIPE_OPTIONS = {
    "task": ("task", "KIND", "task kind, such as text-classification (default: inferred)"),
    "model": ("model", "NAME", "catalog name, directory, hub id or 'scratch' (default: selected)"),
    "text": ("data.columns.text", "COLUMN", "the column with the text"),
    "label": ("data.columns.label", "COLUMN", "the column to be predicted"),
    "epochs": ("train.epochs", "N", "passes over the training rows (default: by size)"),
    "seed": ("seed", "N", "seeds splits, initialisation and order (default: 42)"),
}


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """`--json`, `--quiet`, `--lang`."""
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")
    group.add_argument("--quiet", action="store_true", help="no progress and no notices, only warnings")
    group.add_argument("--lang", choices=("en", "zh"), help="language of the output (default: of the environment)")


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """Options that override keys of the recipe."""
    group = parser.add_argument_group("recipe")
    for name, (_, metavar, about) in RECIPE_OPTIONS.items():
        group.add_argument(f"--{name}", metavar=metavar, help=about, dest=f"recipe_{name}")
    group.add_argument(
        "--budget", metavar="LIMITS", help="what the model must fit, such as 'p95_ms=50,size_mb=500,metric=85'"
    )
    add_settings(group, "any key of the recipe, such as train.epochs=3; repeatable (docs/recipe.md lists them)")


def add_settings(parser: argparse.ArgumentParser | argparse._ArgumentGroup, about: str) -> None:
    """`--set KEY=VALUE`, which `settings_of` reads."""
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="settings", help=about)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What a verb that makes an artifact takes: source, `--out`, `--overwrite`, `--sign-key`, recipe, output."""
    add_source(parser)
    parser.add_argument("--out", metavar="DIR", help="directory for the artifact (default: runs/<name of the data>)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is there")
    parser.add_argument("--sign-key", metavar="KEY", help="sign the artifact with this private key (PEM)")
    add_recipe_options(parser)
    add_output_options(parser)


def add_public_key(parser: argparse.ArgumentParser) -> None:
    """`--public-key` of what opens an artifact."""
    parser.add_argument("--public-key", metavar="KEY", help="refuse an artifact not signed by this key's holder (PEM)")


def add_data_columns(parser: argparse.ArgumentParser) -> None:
    """`--text` and `--label` of what scores an artifact on labelled rows, which `data_columns` reads."""
    parser.add_argument("--text", metavar="COLUMN", help="the column with the text, where DATA calls it otherwise")
    parser.add_argument("--label", metavar="COLUMN", help="the column with the label, where DATA calls it otherwise")


def data_columns(args: argparse.Namespace) -> dict[str, str]:
    """Role → column, where DATA calls it otherwise."""
    return {role: getattr(args, role) for role in ("text", "label") if getattr(args, role)}


def add_source(parser: argparse.ArgumentParser) -> None:
    """The data or recipe a verb starts from."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a data file, a folder per class, an SQL URL, hub:ID, a demo name (reviews-zh), or a recipe (.yaml)",
    )


def overrides_of(args: argparse.Namespace) -> dict[str, Any]:
    """Recipe keys from the options: dotted key → value.

    Raises:
        RecipeError: a pair without "=", or without a key.
    """
    from penjing.pipeline.plan import parse_value

    found: dict[str, Any] = {}
    for name, (key, _, _) in RECIPE_OPTIONS.items():
        given = getattr(args, f"recipe_{name}")
        if given is not None:
            # Columns may be called "1" or "true"; only what is no name is read as a value.
            found[key] = given if key.startswith(("data.", "task", "model")) else parse_value(given)
    return found | budget_of(args) | settings_of(args)


def budget_of(args: argparse.Namespace) -> dict[str, Any]:
    """Recipe keys from `--budget`: dotted key → value.

    Raises:
        RecipeError: a part without "=", or without a key; a key given twice.
    """
    from penjing.pipeline.plan import parse_value

    found: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in (args.budget or "").split(","))):
        key, value = _pair(part, "--budget", "p95_ms=50,size_mb=500")
        if f"budget.{key}" in found:
            raise RecipeError(
                f"{key!r} is given twice", where="--budget", expected="each limit once", next_step="keep one of the two"
            )
        found[f"budget.{key}"] = parse_value(value)
    return found


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Recipe keys from `--set`: dotted key → value.

    Raises:
        RecipeError: a pair without "=", or without a key.
    """
    from penjing.pipeline.plan import parse_value

    pairs = [_pair(part, "--set", "train.epochs=3") for part in args.settings]
    return {key: parse_value(value) for key, value in pairs}


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key.strip(". "):
        raise RecipeError(f"{text!r} is no KEY=VALUE", where=option, expected=f"such as {option} {example}")
    return key.strip(), value if len(value) == 1 else value.strip()
