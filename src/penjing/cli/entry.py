"""From a command line to an exit code."""

from __future__ import annotations

import importlib
import io
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from penjing.cli.failure import Terminated, explain, tell
from penjing.cli.parser import language_of, parse
from penjing.cli.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name; None: those of the process.

    Returns:
        The exit code (`penjing --help` lists them).
    """
    arguments = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    _tolerate_any_text()
    place = "penjing"
    try:
        with _termination_raises():
            chosen = parse(arguments)
            verb = VERBS[chosen.verb]
            place = f"penjing {chosen.verb}"
            from penjing.cli.console import Console

            with Console(json=chosen.json, quiet=chosen.quiet, language=language_of(arguments)) as console:
                module, _, function = verb.target.partition(":")
                code = getattr(importlib.import_module(module), function)(chosen, console)
            sys.stdout.flush()
            return int(code)
    except SystemExit:  # argparse after --help and --version
        raise
    except BaseException as error:
        failure = explain(error, place=place)
        if failure is None:
            raise
        tell(failure, as_json="--json" in arguments, language=language_of(arguments))
        return failure.exit_code


@contextmanager
def _termination_raises() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that what is half-made is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tolerate_any_text() -> None:
    """A terminal that cannot show a character gets its escape, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
