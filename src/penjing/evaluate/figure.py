"""One figure of a report beside its re-run, and when the two count as equal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from penjing.core.report import Cost

# Shared machines drift by tens of percent between runs; twice as slow is no drift.
TIMING_RATIO = 2.0
MEMORY_RATIO = 1.25
# Metrics are sums over rows in a fixed order; only the last bits may differ between libraries of linear algebra.
EXACT = 1e-9
# Where the model itself is computed by other instructions or another library, logits differ by about 1e-6.
ROUNDED = 1e-4
NOT_AGAIN = "known to the training run only"
_WORSE_WHEN_GREATER = {"p50_ms": TIMING_RATIO, "p95_ms": TIMING_RATIO, "load_ms": TIMING_RATIO, "ram_mb": MEMORY_RATIO}


@dataclass(frozen=True)
class Figure:
    """One figure, reported and found.

    Args:
        name: what it is: "accuracy", "accuracy.low", "p95_ms", "classes", ...
        reported: the value in `report.json`.
        found: the value of the re-run; None where it cannot be re-run.
        rule: "equal", or the greatest allowed ratio in words, or why it is not judged.
        ok: whether the rule holds; None where it is not judged.
    """

    name: str
    reported: float | str | None
    found: float | str | None
    rule: str
    ok: bool | None


def equal(name: str, reported: float | str | None, found: float | str | None, tolerance: float = EXACT) -> Figure:
    """A figure that has to come out the same."""
    return Figure(name, reported, found, _rule(tolerance), is_equal(reported, found, tolerance))


def same_leaves(name: str, reported: Any, found: Any, tolerance: float = EXACT) -> Figure:
    """A table of the report as one figure: how many of its entries came out the same."""
    old, new = _leaves(reported), _leaves(found)
    agree = sum(1 for key, value in old.items() if key in new and is_equal(value, new[key], tolerance))
    total = len(old.keys() | new.keys())
    return Figure(name, f"{total} entries", f"{agree} equal", _rule(tolerance), agree == total)


def not_again(name: str, reported: float | str | None) -> Figure:
    """A figure that only the run could know."""
    return Figure(name, reported, None, NOT_AGAIN, None)


def is_equal(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two values are the same, numbers up to a tolerance."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance)
    return bool(a == b)


def cost_figures(reported: Cost, found: Cost, same_machine: bool, prefix: str = "") -> list[Figure]:
    """What a model costs, as far as it was reported.

    Args:
        reported: in the report.
        found: anew; None where it was not measured.
        same_machine: whether timings may be judged.
        prefix: of the figures' names.
    """
    pairs = [(name, getattr(reported, name), getattr(found, name)) for name in reported.measured]
    return [_cost(name, prefix + name, *pair, same_machine=same_machine) for name, *pair in pairs]


def _cost(name: str, shown: str, reported: float, found: float | None, *, same_machine: bool) -> Figure:
    if name == "train_minutes":
        return not_again(shown, reported)
    if found is None:
        return Figure(shown, reported, None, "not measured", None)
    if name == "size_mb":
        return equal(shown, reported, found)
    if not same_machine:
        return Figure(shown, reported, found, "another machine", None)
    if name == "rows_per_s":
        return Figure(shown, reported, found, f"at least {1 / TIMING_RATIO:g} ×", found >= reported / TIMING_RATIO)
    ratio = _WORSE_WHEN_GREATER[name]
    return Figure(shown, reported, found, f"at most {ratio:g} ×", found <= reported * ratio)


def _leaves(value: Any, place: str = "") -> dict[str, Any]:
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list | tuple):
        pairs = list(enumerate(value))
    else:
        return {place: value}
    return {key: leaf for name, part in pairs for key, leaf in _leaves(part, f"{place}/{name}").items()}


def _rule(tolerance: float) -> str:
    return "equal" if tolerance == EXACT else f"equal to {tolerance:g} (rounded otherwise here)"
