"""The argument parser. Mistakes become `RecipeError`s, so that they are said like all others."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from penjing.cli import chinese
from penjing.cli.verbs import VERBS
from penjing.core.errors import RecipeError, closest

EXIT_CODES = """\
exit codes:
  0    done
  2    something to mend: the message says what and where
  3    the result does not meet the budget
  4    verify: a figure of the report did not come out again
  130  interrupted (143: terminated); run and train resume when repeated
"""


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises where the original prints its usage and leaves."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def error(self, message: str) -> NoReturn:
        """Every mistake argparse itself finds.

        Raises:
            RecipeError: always.
        """
        raise RecipeError(message, where=self.prog, next_step=f"see {self.prog} --help")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"penjing {version('penjing')}")  # noqa: T201
        parser.exit()


def build_parser(verbs: Sequence[str] = tuple(VERBS), language: str = "en") -> Parser:
    """The whole parser, or one that knows the arguments of some verbs only.

    Args:
        verbs: whose modules are imported; the others are listed without their arguments.
        language: of the help, en or zh.
    """
    parser = Parser(
        prog="penjing",
        description="From a labelled file to a proven model that fits your machine, in one command.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and leave")
    parts = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for name, verb in VERBS.items():
        about = verb.zh if language == "zh" else verb.en
        stop = "。" if language == "zh" else "."
        part = parts.add_parser(name, help=about, description=about[:1].upper() + about[1:] + stop)
        if name in verbs:
            importlib.import_module(verb.target.partition(":")[0]).add_arguments(part)
        if language == "zh":
            chinese.translate(part)
    if language == "zh":
        chinese.translate(parser)
        parser.epilog = chinese.EXIT_CODES
    return parser


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line, importing only the module of its verb.

    Raises:
        RecipeError: an unknown verb or option, with the closest match, or a wrong value.
    """
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        near = closest(verb, VERBS)
        raise RecipeError(
            f"unknown verb {verb!r}",
            where="penjing",
            expected="one of " + ", ".join(VERBS),
            next_step=f"did you mean {near!r}?" if near else "see penjing --help",
        )
    parser = build_parser([verb] if verb else [], language_of(arguments))
    found, extra = parser.parse_known_args(arguments)
    if extra:
        _refuse(found.verb, extra, parser)
    return found


def language_of(arguments: Sequence[str]) -> str:
    """The language of `--lang`, else of the environment: zh or en."""
    for i, word in enumerate(arguments):
        given = word.partition("=")[2] if word.startswith("--lang=") else (arguments[i + 1 : i + 2] or [""])[0]
        if word.startswith("--lang") and given in {"en", "zh"}:
            return given
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return "zh" if locale.lower().startswith("zh") else "en"


def option_names(parser: argparse.ArgumentParser, verb: str) -> list[str]:
    """All long options of a verb."""
    parts = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [name for action in parts.choices[verb]._actions for name in action.option_strings if name.startswith("--")]


def _refuse(verb: str, extra: Sequence[str], parser: Parser) -> NoReturn:
    accepted = option_names(parser, verb)
    hints = []
    for i, word in enumerate(extra):
        if i and hints and extra[i - 1].startswith("--") and not word.startswith("-"):
            continue  # the value of the option before
        near = closest(word.partition("=")[0], accepted) if word.startswith("-") else None
        hints.append(f"{word!r}, did you mean {near!r}?" if near else repr(word))
    raise RecipeError(
        f"unknown argument{'s' if len(hints) > 1 else ''} {'; '.join(hints)}",
        where=f"penjing {verb}",
        next_step=f"see penjing {verb} --help",
    )
