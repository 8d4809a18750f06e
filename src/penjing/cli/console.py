"""What a verb says: events on standard error while it works, its result on standard output."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from penjing.cli.progress import Lines, LiveBars
from penjing.cli.terminal import printable
from penjing.core.events import Event, Notice, Standings

WIDE = 120


class Console:
    """One command's output.

    Args:
        json: the result is one JSON document and nothing else goes to standard output.
        quiet: warnings and the result only.
        language: of what the command line itself says, en or zh.
    """

    def __init__(self, *, json: bool, quiet: bool, language: str) -> None:
        self.json = json
        self.quiet = quiet
        self.language = language
        self.watcher: Lines | LiveBars = (
            LiveBars(sys.stderr, language)
            if sys.stderr.isatty() and not quiet
            else Lines(sys.stderr, quiet=quiet, language=language)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.watcher.close()

    def listen(self, event: Event) -> None:
        """The listener handed to the work."""
        if isinstance(event, Notice | Standings):
            event = replace(event, text=self.tell(event.text))
        self.watcher(event)

    def tell(self, sentence: str) -> str:
        """An English sentence of the work below, in the user's language where it is known there."""
        if self.language != "zh":
            return sentence
        from penjing.cli.zh import in_chinese

        return in_chinese(sentence)

    def say(self, en: str, zh: str) -> str:
        """The text in the user's language."""
        return zh if self.language == "zh" else en

    def document(self, values: Mapping[str, Any] | Sequence[Any]) -> None:
        """The result as JSON."""
        self.watcher.close()
        sys.stdout.write(jsonlib.dumps(values, ensure_ascii=False, allow_nan=False, default=str) + "\n")

    def line(self, text: str = "") -> None:
        """A line of the result."""
        self.watcher.close()
        sys.stdout.write(printable(text) + "\n")

    def block(self, text: str) -> None:
        """A text of several lines that is ours, such as a script."""
        self.watcher.close()
        sys.stdout.write(text if text.endswith("\n") else text + "\n")

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        right: Sequence[int] = (),
        tight: bool = False,
    ) -> None:
        """A table of the result.

        Args:
            columns: headings.
            rows: cells, shown as text.
            right: positions of columns of numbers.
            tight: with less space between many columns.
        """
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as Screen
        from rich.table import Table
        from rich.text import Text

        self.watcher.close()
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=tight)
        for i, name in enumerate(columns):
            table.add_column(Text(name), justify="right" if i in right else "left", overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        screen = Screen(file=sys.stdout, highlight=False, markup=False)
        if not screen.is_terminal:
            screen.width = WIDE
        screen.print(table)
