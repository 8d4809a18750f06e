"""Shows events while work runs: bars on a terminal, now and then a line elsewhere. Always on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from penjing.cli.terminal import duration, printable, quantity
from penjing.core.events import Event, Notice, Progress, Standings

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID
    from rich.table import Table

LINE_SECONDS = 10.0
UNITS = {
    "rows": "行", "steps": "步", "rounds": "轮", "trials": "次试验", "resamples": "次重采样", "checks": "项检查",
    "processes": "个进程", "classes": "类", "texts": "条文本",
    "setups": "种运行方式",
}  # fmt: skip
_NAMES = {"samples_per_s": "samples/s", "rows_per_s": "rows/s", "learning_rate": "lr"}


def figures(values: Mapping[str, float]) -> str:
    """Figures of the moment as "loss 0.312  accuracy 0.91"."""
    return "  ".join(f"{_NAMES.get(name, name.replace('_', ' '))} {value:.3g}" for name, value in values.items())


def notice_line(notice: Notice, language: str = "en") -> str:
    """A notice as "train: resumed at step 40 of 200"; the text is in the language already."""
    mark = ("警告：" if language == "zh" else "warning: ") if notice.level == "warning" else ""
    return printable(f"{notice.stage}: {mark}{notice.text}")


@dataclass
class _Stage:
    """When a stage began, and from where (a resumed one does not begin at zero)."""

    began: float
    first: float
    last: float
    shown: float
    finished: bool = False

    @classmethod
    def of(cls, stages: dict[str, _Stage], event: Progress) -> _Stage:
        """The event's stage; a new one where it counts from the beginning again, as for the next candidate."""
        stage = stages.get(event.stage)
        if stage is None or event.done < stage.last:
            now = time.monotonic()
            stage = stages[event.stage] = cls(now, event.done, event.done, now)
        stage.last = event.done
        return stage

    def left(self, event: Progress) -> float | None:
        """Seconds to go, or None where unknown."""
        spent, advanced = time.monotonic() - self.began, event.done - self.first
        if event.total is None or advanced <= 0:
            return None
        return spent / advanced * (event.total - event.done)


class Lines:
    """For files and pipes: a line when a stage ends, and every ten seconds in between.

    Args:
        stream: where to.
        quiet: warnings only.
        language: of the notices, en or zh.
    """

    def __init__(self, stream: TextIO, *, quiet: bool, language: str = "en") -> None:
        self.stream = stream
        self.language = language
        self.quiet = quiet
        self.stages: dict[str, _Stage] = {}

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Notice):
            if event.level == "warning" or not self.quiet:
                self._write(notice_line(event, self.language))
        elif self.quiet:
            return
        elif isinstance(event, Standings):
            self._write(printable(f"{event.stage}: {event.text}"))
        else:
            self._progress(event)

    def close(self) -> None:
        """Nothing is held back."""

    def _progress(self, event: Progress) -> None:
        stage = _Stage.of(self.stages, event)
        now = time.monotonic()
        ended = event.total is not None and event.done >= event.total
        if (ended and not stage.finished) or (not ended and now - stage.shown >= LINE_SECONDS):
            stage.shown, stage.finished = now, ended
            self._write(_line(event, stage, self.language))

    def _write(self, line: str) -> None:
        self.stream.write(line + "\n")
        self.stream.flush()


def _line(event: Progress, stage: _Stage, language: str = "en") -> str:
    """A progress event as "train: 120 of 400 steps, 1:20 left, loss 0.31"."""
    between = "/" if language == "zh" else " of "
    amount = quantity(event.done, event.unit)
    if event.total is not None:
        amount = f"{amount.partition(' ')[0]}{between}{quantity(event.total, event.unit)}"
    left = stage.left(event)
    parts = [_said(amount, language), _left(left, language), _said(event.note, language), figures(event.values)]
    comma = "，" if language == "zh" else ", "
    return printable(f"{event.stage}: " + comma.join(part for part in parts if part))


def _left(seconds: float | None, language: str) -> str:
    if not seconds:
        return ""
    return f"还需 {duration(seconds)}" if language == "zh" else f"{duration(seconds)} left"


def _said(words: str, language: str) -> str:
    if language != "zh" or not words:
        return words
    from penjing.cli.zh import in_chinese

    amount, _, unit = words.rpartition(" ")
    return f"{amount} {UNITS[unit]}" if amount and unit in UNITS else in_chinese(words)


def standings_table(event: Standings, language: str) -> Table:
    """What is best so far, the row that would be taken marked."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from penjing.evaluate.page.words import Words

    words = Words(language)  # of the report's table, which this becomes
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i, name in enumerate(event.columns):
        table.add_column(Text(words(f"tried.{name}")), justify="right" if i else "left", overflow="fold")
    for i, row in enumerate(event.rows):
        style = "bold green" if i == event.chosen else ""
        *figures, fits = row
        table.add_row(*map(Text, map(printable, figures)), words(f"tried.{fits}"), style=style)
    return table


class LiveBars:
    """For a terminal: one bar a stage, with figures and the time that is left.

    Args:
        stream: the terminal.
        language: of the notices, en or zh.
    """

    def __init__(self, stream: TextIO, language: str = "en") -> None:
        self.stream = stream
        self.language = language
        self.bars: Bars | None = None
        self.tasks: dict[str, TaskID] = {}
        self.stages: dict[str, _Stage] = {}
        self.standings: Table | None = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        from rich.text import Text

        bars = self._started()
        if isinstance(event, Notice):
            style = "yellow" if event.level == "warning" else "dim"
            bars.console.print(Text(notice_line(event, self.language), style=style))
            return
        if isinstance(event, Standings):
            self.standings = standings_table(event, self.language)
            bars.refresh()
            return
        if event.stage not in self.tasks:
            self.tasks[event.stage] = bars.add_task(event.stage, total=event.total, detail="", amount="")
        left = _Stage.of(self.stages, event).left(event)
        amount = quantity(event.done, event.unit)
        if event.total is not None:
            amount = f"{event.done / event.total:4.0%}" if event.total else ""
        said = (figures(event.values), _left(left, self.language), _said(event.note, self.language))
        detail = "  ".join(part for part in said if part)
        bars.update(
            self.tasks[event.stage],
            completed=event.done,
            total=event.total,
            amount=amount,
            detail=printable(detail),
        )

    def close(self) -> None:
        """Leave the bars as they are and give the cursor back."""
        if self.bars is not None:
            self.bars.stop()
            self.bars = None
            self.tasks = {}
            self.standings = None

    def _started(self) -> Bars:
        if self.bars is None:
            from rich.console import Console, RenderableType
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bars

            watcher = self

            class BelowStandings(Bars):
                def get_renderables(self) -> Iterator[RenderableType]:
                    if watcher.standings is not None:
                        yield watcher.standings
                    yield from super().get_renderables()

            self.bars = BelowStandings(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[amount]}", markup=False),
                TextColumn("{task.fields[detail]}", markup=False),
                console=Console(file=self.stream, highlight=False, markup=False),
                refresh_per_second=5,
            )
            self.bars.start()
        return self.bars
