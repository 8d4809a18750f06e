"""The figures of a recorded terminal session, each held against the same figure of a new run.

The figures of both sessions are paired by their names. A figure has to come out again
within what its kind allows (`RULES`), not to the digit; on another processor than the README's, what a clock decides
is shown and not judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from readme_session import Stated, figures

# The processor of the README with other work beside: a README must not be wrong by more than this.
TIME_FACTOR = 5.0
# What a process holds depends on its allocator and its number of threads.
MEMORY_FACTOR = 1.5
# The files of a model hold the same weights; what else they hold is a few kilobytes of text.
SIZE_SHARE = 0.01
# What is expected before training, from a probe on as many rows as a machine encodes in some seconds: points, or half
# the interval that the quote itself gives.
EXPECTED_POINTS = 5.0
# Confidence in one text after a short training whose last bits differ with the processor.
CONFIDENCE = 0.25
FACTOR = 2.0


@dataclass(frozen=True)
class Compared:
    """A figure beside the new run's; `ok` is None where it is shown and not judged."""

    name: str
    readme: float | str
    now: float | str | None
    rule: str
    ok: bool | None


def _number(stated: float | str) -> float:
    assert isinstance(stated, float)
    return stated


def _in_interval(stated: Stated, now: float) -> bool:
    assert stated.low is not None
    return stated.low <= now <= stated.low + stated.spread


Rule = tuple[str, Callable[[Stated, float], bool] | None]
RULES: dict[str, Rule] = {
    "equal": ("equal", lambda stated, now: stated.value == now),
    "metric": ("within the README's interval", _in_interval),
    "bound": (
        "moved by no more than half the interval's width",
        lambda s, now: abs(now - _number(s.value)) <= s.spread / 2,
    ),
    "expected": (
        f"within {EXPECTED_POINTS:g} points, or half its interval's width",
        lambda s, now: abs(now - _number(s.value)) <= max(EXPECTED_POINTS, s.spread / 2),
    ),
    "size": (
        f"within {SIZE_SHARE:.0%}, or its interval's width",
        lambda s, now: abs(now - _number(s.value)) <= max(s.spread, SIZE_SHARE * _number(s.value)),
    ),
    "memory": (
        f"at most {MEMORY_FACTOR:g} × more or less",
        lambda s, now: _number(s.value) / MEMORY_FACTOR <= now <= _number(s.value) * MEMORY_FACTOR,
    ),
    "time": (f"at most {TIME_FACTOR:g} ×", lambda s, now: now <= _number(s.value) * TIME_FACTOR),
    "throughput": (f"at least 1/{TIME_FACTOR:g} ×", lambda s, now: now >= _number(s.value) / TIME_FACTOR),
    "temperature": (
        f"at most {FACTOR:g} × more or less",
        lambda s, now: _number(s.value) / FACTOR <= now <= _number(s.value) * FACTOR,
    ),
    "confidence": (f"within {CONFIDENCE:g}", lambda s, now: abs(now - _number(s.value)) <= CONFIDENCE),
    "machine": ("of the machine", None),
    "promise": ("a quote is meant to hold in nine runs of ten", None),
}


def compare(readme: str, now: str, *, same_rows: bool = True, same_machine: bool = True) -> list[Compared]:
    """Every figure of one session beside that of another.

    Args:
        readme: the session as the README shows it.
        now: the session of the new run, made by the same generator in the same language.
        same_rows: whether both had the same rows; else what depends on the rows is shown and not judged.
        same_machine: whether both had the same processor; else what a clock decides is shown and not judged.

    Raises:
        ValueError: the README's session holds no figure, or two of one name.
    """
    stated, found = list(figures(readme)), {figure.name: figure for figure in figures(now)}
    names = {figure.name for figure in stated}
    if not stated or len(names) != len(stated):
        raise ValueError("a session needs figures, each in a line of its own words")
    return [
        _judge(
            figure,
            found.get(figure.name),
            (same_rows or not figure.depends_on_rows) and (same_machine or not figure.depends_on_machine),
        )
        for figure in stated
    ]


def _judge(stated: Stated, found: Stated | None, comparable: bool) -> Compared:
    words, holds = RULES[stated.kind]
    if found is None:
        rule = "the run no longer says this"
        return Compared(stated.name, stated.value, None, rule, False if comparable else None)
    ok: bool | None
    if holds is None:
        ok = None
    elif isinstance(stated.value, float) and isinstance(found.value, float):
        ok = holds(stated, found.value)
    else:
        ok = stated.value == found.value
    return Compared(stated.name, stated.value, found.value, words, ok if comparable else None)
