"""The figures, tables and notes of `compress.py`, from what was measured."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from compress_rows import auroc_lost
from frame import Figure, TableOf
from intervals import paired_difference

UNCOMPRESSED, SMALL, SMALLER = "penjing, uncompressed", "penjing, compressed", "penjing, drop=2.5"
TORCH, DYNAMIC, NNCF = "torch fp32", "onnxruntime dynamic int8", "OpenVINO + NNCF int8"
# Where more may be lost a search ends with what model2vec is to be held against.
CHEAP, CHEAP_SHARE = "drop=2.5", 0.5


def _right(bits: str) -> np.ndarray:
    return np.array([bit == "1" for bit in bits])


def summary(turns: list[dict[str, Any]], answers: dict[str, Any], small: dict[str, Any], set_of: str) -> list[Figure]:
    """The figures that have targets, and what is only reported."""
    banking = set_of == "banking77"

    def ratio(name: str, what: str, rival: str, target: float | None, at_least: bool = True) -> Figure:
        ratios = [turn[SMALL][what] / turn[rival][what] for turn in turns]
        spread = (min(ratios), max(ratios)) if len(ratios) > 1 else (None, None)
        limit = target if banking else None
        return Figure(name, median(ratios), *spread, target=limit, at_least=at_least, of_turns=True)

    def drop(
        name: str, what: str, target: float | None, chosen: np.ndarray | None = None, against: str = UNCOMPRESSED
    ) -> Figure:
        before, after = (_right(answers[side][what]) for side in (against, SMALL))
        if chosen is not None:
            before, after = before[chosen], after[chosen]
        return Figure(name, *paired_difference(list(before), list(after)), target=target, at_least=False)

    memory, size = median(turn[SMALL]["peak_mb"] for turn in turns), answers[SMALL]["size_mb"]
    figures = [
        ratio("throughput over torch fp32, ×", "rows_per_s", TORCH, 30),
        ratio("throughput over torch fp32, rows met for the first time, ×", "fresh_rows_per_s", TORCH, 30),
        ratio("throughput over OpenVINO + NNCF int8, ×", "rows_per_s", NNCF, 5),
        ratio("p50 of one row over onnxruntime dynamic int8's, ×", "p50_ms", DYNAMIC, 0.35, at_least=False),
        Figure("size, MB", size, target=5 if banking else None, at_least=False),
        Figure(
            "peak memory of a fresh predicting process, MB", memory, target=150 if banking else None, at_least=False
        ),
        *budgeted(small),
        drop("accuracy lost, points", "right", limit_of(small) if small["primary"] == "accuracy" else None),
        drop(f"accuracy lost against {TORCH}, which the rivals run, points", "right", None, against=TORCH),
    ]
    if banking:
        before, after = (answers[side]["auroc"] for side in (UNCOMPRESSED, SMALL))
        unseen = _right(answers[SMALL]["unseen"])
        figures += [
            Figure(
                "AUROC of in scope against out of scope lost, points",
                *auroc_lost(answers[UNCOMPRESSED]["sure"], answers[SMALL]["sure"]), target=1.0, at_least=False,
                reference=f"{before:.2f} before, {after:.2f} after",
            ),
            drop(f"accuracy lost on {unseen.sum()} rows with a piece new to them, points", "right", None, unseen),
            drop("accuracy lost with typing errors, points", "typos", None),
        ]  # fmt: skip
    return figures


def budgeted(small: dict[str, Any]) -> list[Figure]:
    """What the budget limits, where that is not accuracy: as the report of the compressed model has it."""
    if small["primary"] == "accuracy":
        return []
    (lost,) = (one for one in small["verdicts"] if one["constraint"] == "drop")
    name = f"{small['primary'].replace('_', '-').replace('f1', 'F1')} lost, which the budget limits, points"
    return [Figure(name, lost["value"], lost["low"], lost["high"], target=lost["limit"], at_least=False)]


def limit_of(small: dict[str, Any]) -> float:
    """Points that the budget lets be lost."""
    return next(float(one["limit"]) for one in small["verdicts"] if one["constraint"] == "drop")


def tables(turns: list[dict[str, Any]], answers: dict[str, Any], small: dict[str, Any]) -> list[TableOf]:
    """Every side, and what the search tried."""
    rows = []
    for side, answer in answers.items():
        mid = {
            what: median(turn[side][what] for turn in turns) for what in ("rows_per_s", "p50_ms", "p95_ms", "peak_mb")
        }
        rows.append(
            [
                side,
                f"{100 * _right(answer['right']).mean():.2f}",
                f"{mid['rows_per_s']:,.0f}",
                f"{mid['p50_ms']:.3f}",
                f"{mid['p95_ms']:.3f}",
                f"{answer['size_mb']:.2f}",
                f"{mid['peak_mb']:.0f}",
                f"{answer['auroc']:.2f}" if "auroc" in answer else "–",
                f"{100 * _right(answer['typos']).mean():.2f}" if "typos" in answer else "–",
            ]
        )
    columns = (
        "side", "accuracy, %", "rows/s", "p50, ms", "p95, ms", "MB", "memory, MB", "AUROC", "accuracy with typos, %",
    )  # fmt: skip
    tried = [
        [
            one["name"] + (" (chosen)" if one["chosen"] else ""), f"{one['lost']:+.2f}", f"{one['judged']:+.2f}",
            f"{one['rows_per_s']:,.0f}", f"{one['p50_ms']:.3f}", f"{one['size_mb']:.2f}", f"{one['ram_mb']:.0f}",
            "yes" if one["fits"] else "no",
        ]
        for one in small["compression"]["tried"]
    ]  # fmt: skip
    of_search = (
        "chain",
        "lost by validation labels, points",
        "as judged (decides)",
        "rows/s",
        "p50, ms",
        "MB",
        "memory, MB",
        "fits",
    )
    return [TableOf("Side by side", columns, rows), TableOf("What the search tried", of_search, tried)]


def notes(
    run: dict[str, Any],
    small: dict[str, Any],
    smaller: dict[str, Any],
    versions: dict[str, str],
    ceiling: dict[str, Any],
    ways: dict[str, int],
) -> list[str]:
    """What the figures cannot say."""
    ways_said = ", ".join(f"{side} {workers}" for side, workers in ways.items())
    apart = small["compression"].get("parity")
    parity = [] if apart is None else [
        f"Behind any first stage, {apart['flipped']} of {apart['rows']} validation rows are answered otherwise than by "
        f"the torch model that the file was made from; probabilities are {apart['mean']:.2g} apart on average, "
        f"{apart['max']:.2g} at most."
    ]  # fmt: skip
    return [
        _search_said("The search", small),
        _search_said(f'The search for "{CHEAP}"', smaller),
        f"The run before took {run['wall_s'] / 60:.1f} minutes; rows: {run['rows']}.",
        f"int8 on this machine: {ceiling['gops']:,.0f} GOP/s in the best product that OpenVINO or onnxruntime reached; "
        f"at that rate two whole layers of 384 would label at most {ceiling['two_layers_rows_per_s']:,.0f} rows/s of "
        "13 tokens.",
        *parity,
        "The head stays in 32 bits on every side. The recipes of onnxruntime and NNCF would round it with the rest, "
        "which a head of penjing's may not stand: one of its weights may be hundreds of times the others.",
        f"Workers that many texts were labelled by: {ways_said}.",
        "The peers' own environment: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".",
    ]


def _search_said(name: str, small: dict[str, Any]) -> str:
    made, early = small["compression"], small["compression"]["early"]
    said = "; ".join(f"{one['constraint']} {one['state']}" for one in small["verdicts"])
    first = f"; its first stage answers {early:.0%} of the test rows" if early is not None else ""
    chose = f"chose: {' → '.join(made['steps'])}{first}"
    fits = "On the validation rows it fits."
    if made["relax"]:
        misses = "; ".join(f"{one['constraint']} {one['limit']:g}, has {one['reached']:g}" for one in made["relax"])
        fits = f"On the validation rows nothing fitted, and this came nearest (exit code 3): asked for {misses}."
    return f"{name} took {made['minutes']:.1f} minutes and {chose}. {fits} On the test rows it said: {said}."
