"""Reads the figures out of a terminal session, as `gen_benchmarks.first_run` writes it into a README.

A figure is found by what stands around it, so none can be left out: its name is its line with the numbers taken out, or
the row of its table, and its kind follows from the unit behind it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from penjing.evaluate.page.words import LANGUAGES, Words

# A number of its own: not the 5 of e5, the 95 of p95, the 6 of l6-en, nor a part of a date.
NUMBER = re.compile(r"(?<![\w.,\-−])[−-]?\d+(?:,\d{3})*(?:\.\d+)?(?![\d.]*\d|\w*[A-Za-z_]|-\d)")
_INTERVAL = r"[−\-\d.,]+(?:–| … )[−\-\d.,]+"
# The unit may stand behind the rest of an interval ("50.8" of "50.8–87.6%") and behind one in brackets.
_UNIT = re.compile(
    rf"(?:(?:–| … )[−\-\d.,]+)?%?(?: \({_INTERVAL}%?\))?\)? ?"
    r"(%|points|ms\b|minutes\b|min\b|rows/s|MB of memory|MB)"
)
_KIND_OF_UNIT = {
    "%": "expected",
    "points": "expected",
    "ms": "time",
    "minutes": "time",
    "min": "time",
    "rows/s": "throughput",
    "MB of memory": "memory",
    "MB": "size",
}
_KIND_OF_COST = {"size_mb": "size", "ram_mb": "memory", "rows_per_s": "throughput"}
_COSTS = ("p50_ms", "p95_ms", "rows_per_s", "load_ms", "size_mb", "ram_mb", "train_minutes")
COST_KINDS = {
    Words(language).named("cost", name): _KIND_OF_COST.get(name, "time") for language in LANGUAGES for name in _COSTS
}
# Of these lines some figures follow from the machine and from assumed prices.
_PRICE = "quote: Serving"
# And here the ends of an interval, which is the wider the fewer rows a probe got through.
_EXPECTED = "quote: Expected "
OF_A_CLOCK = {"time", "throughput"}
# Judged on as many rows as a machine gets through in some seconds, or fitted to the last bits of its arithmetic.
_UNTIL_THE_CLOCK = re.compile(r"select: |quote: [\d,]+ more labels|train: n-grams: .* logits are")


@dataclass(frozen=True)
class Stated:
    """One figure of a session.

    Args:
        name: the line it stands in and its place there; the same in every session that says the same.
        value: the number (percent as printed), or a word such as a label.
        kind: a key of `readme_figures.RULES`.
        spread: width of the interval that stands beside it, in the unit of the value; 0: none.
        low: lower end of that interval, where the value itself has to lie in it.
        depends_on_rows: whether a run on another number of rows may say something else.
        depends_on_machine: whether a run on another processor may say something else.
    """

    name: str
    value: float | str
    kind: str
    spread: float = 0.0
    low: float | None = None
    depends_on_rows: bool = True
    depends_on_machine: bool = False


def figures(session: str) -> Iterator[Stated]:
    """Every figure of a session in Markdown, as `gen_benchmarks.first_run` writes it."""
    tables = 0
    for line in _unfolded(session):
        cells = re.split(r"\s{2,}", line.strip())
        if set(line.strip()) == {"─"}:
            tables += 1
        elif line.startswith("{"):
            yield from _prediction(line)
        elif line.startswith(("(", "（")):
            yield from _closing(line)
        elif line.startswith(" ") and len(cells) >= 3 and tables:
            yield from (_metric, _cost, _quoted)[tables - 1](cells)
        elif not line.startswith("$"):
            yield from _prose(line)


def _unfolded(session: str) -> list[str]:
    """The lines as they were before the page folded them; headings of tables hold no figure."""
    lines: list[str] = []
    for line in session.splitlines():
        if line.startswith("    ") and lines:
            lines[-1] += " " + line.strip()
        elif set(line.strip()) == {"─"}:
            lines[-1] = line
        else:
            lines.append(line)
    return [line for line in lines if line.strip() and not line.startswith("```")]


def _metric(cells: list[str]) -> Iterator[Stated]:
    name, value, interval = cells
    low, high = _ends(interval)
    yield Stated(name, to_number(value), "metric", high - low, low)
    yield from (Stated(f"{name}, {end}", bound, "bound", high - low) for end, bound in (("low", low), ("high", high)))


def _cost(cells: list[str]) -> Iterator[Stated]:
    name, value, unit = cells
    # How long training takes depends on how many rows there are; what a prediction costs does not.
    kind = COST_KINDS[name]
    trains = unit in ("min", "分钟")
    yield Stated(
        f"{name}, {unit}", to_number(value), kind, depends_on_rows=trains, depends_on_machine=kind in OF_A_CLOCK
    )


def _quoted(cells: list[str]) -> Iterator[Stated]:
    name, expected, interval, actual, state = cells
    low, high = _ends(interval)
    kind = COST_KINDS.get(name, "expected")
    for part, value in (("expected", to_number(expected)), ("low", low), ("high", high), ("actual", to_number(actual))):
        # How wide an interval is rests on as many rows as a probe got through in its seconds.
        bound = kind in OF_A_CLOCK or (kind == "expected" and part in ("low", "high"))
        yield Stated(f"{name}, quote: {part}", value, kind, high - low, depends_on_machine=bound)
    yield Stated(f"{name}, quote", state, "promise")


def _prose(line: str) -> Iterator[Stated]:
    words = " ".join(NUMBER.sub("#", line).split())
    numbers = list(NUMBER.finditer(line))
    spread = 0.0
    for i, found in enumerate(numbers):
        value = to_number(found[0])
        interval = re.match(rf"(?:{NUMBER.pattern}%? \()?({_INTERVAL})", line[found.start() :])
        if interval:  # its own in brackets, or the one it begins
            low, high = _ends(interval[1])
            spread = high - low
        elif not line[: found.start()].endswith(("–", " … ")):
            spread = 0.0
        kind = _kind(line, found.end())
        # Bytes and counted rows or features are the same everywhere; whether more labels are spoken of is not.
        counted = kind in {"size", "memory"} or (kind == "equal" and "." not in found[0])
        stays = counted and not line.startswith("quote:")
        is_end = line[: found.start()].endswith(("–", " … ")) or re.match(_INTERVAL, line[found.start() :])
        of_seconds = _UNTIL_THE_CLOCK.match(line) or (line.startswith(_EXPECTED) and is_end)
        bound = kind in OF_A_CLOCK or (bool(of_seconds) and not stays)
        yield Stated(f"{words} [{i + 1}]", value, kind, spread, depends_on_machine=bound)


def _kind(line: str, end: int) -> str:
    if line.startswith(_PRICE):
        return "machine"
    if "temperature" in line and end == len(line.rstrip()):
        return "temperature"
    unit = _UNIT.match(line, end)
    if unit:
        return _KIND_OF_UNIT[unit[1]]
    # The headline speaks of a hundred texts: whole points.
    return "equal" if re.match(r"[a-z]+: ", line) else "expected"


def _prediction(line: str) -> Iterator[Stated]:
    said = json.loads(line)
    about, answer = said["text"], said["prediction"]
    yield Stated(f"{about} label", answer["label"], "equal")
    yield Stated(f"{about} confidence", float(answer["confidence"]), "confidence")
    yield from (Stated(f"{about} {label}", float(share), "confidence") for label, share in answer["top"].items())


def _closing(line: str) -> Iterator[Stated]:
    """The line under the session: how many rows, and on which machine."""
    numbers = NUMBER.findall(line)
    yield Stated("rows", to_number(numbers[0]), "equal")
    yield from (Stated(f"machine [{i}]", to_number(number), "machine") for i, number in enumerate(numbers[1:], 1))


def _ends(interval: str) -> tuple[float, float]:
    low, high = re.split(r"–| … ", interval)
    return to_number(low), to_number(high)


def to_number(text: str) -> float:
    """The number of a printed figure: 1,230 or 83.0% or −0.12."""
    return float(text.strip("%").replace(",", "").replace("−", "-"))
