"""The worst mistakes, for a person to read: the surest wrong answers first.

They show what the model does not understand, and often a wrong label in the test rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from penjing.core.report import Mistake
from penjing.core.task import Prediction, Roles, Row, Span, Stats, Table, Task
from penjing.evaluate.outcomes import Outcomes

MAX_TEXT = 400


def worst_mistakes(
    task: Task, table: Table, predictions: Sequence[Prediction], stats: Stats, found: Outcomes | None, limit: int
) -> list[Mistake]:
    """The worst mistakes, worst first.

    With classes, severity is the number of wrong and missed labels beyond the first plus the confidence in the wrong
    answer; for numbers it is the absolute error.

    Args:
        task: says the roles.
        table: the test rows.
        predictions: one a row.
        stats: one unit a row.
        found: outcomes of the same stats; None for numbers.
        limit: how many.
    """
    if found is not None:
        severity = _severity(found, predictions)
    elif {"target", "value"} <= stats.columns.keys():
        severity = np.abs(stats.columns["target"] - stats.columns["value"])
    else:
        return []
    wrong = np.flatnonzero(severity > 0)
    order = wrong[np.argsort(-severity[wrong], kind="stable")][:limit]
    return [
        Mistake(
            row_id=table.row_ids[i],
            text=shown_text(table.rows[i], task.roles),
            truth=shown_truth(table.rows[i], task.roles),
            predicted=shown_value(predictions[i].value, table.rows[i], task.roles),
            confidence=predictions[i].confidence,
            severity=float(severity[i]),
        )
        for i in order
    ]


def _severity(found: Outcomes, predictions: Sequence[Prediction]) -> np.ndarray:
    errors = (found.fp.sum(axis=1) + found.fn.sum(axis=1)).astype(float)
    if found.true is not None:
        errors /= 2  # one wrong answer is both a false positive and a false negative
    confidence = np.array([p.confidence or 0.0 for p in predictions])
    return np.where(errors > 0, errors + np.clip(confidence, 0.0, 1.0) * 0.999, 0.0)


def shown_text(row: Row, roles: Roles) -> str:
    """What a person reads of a row: its texts, else its features as "name: value"."""
    texts = [str(row.get(c) or "") for c in (roles.text, roles.text_pair) if c]
    if not texts:
        texts = [f"{c}: {'' if row.get(c) is None else row.get(c)}" for c in roles.features]
    return _cut("  ·  ".join(texts))


def shown_truth(row: Row, roles: Roles) -> str:
    """The right answer of a row, in words."""
    if roles.spans:
        given = row.get(roles.spans)
        spans = json.loads(given) if isinstance(given, str) and given.strip() else given or []
        return shown_value([Span(int(s["start"]), int(s["end"]), str(s["label"])) for s in spans], row, roles)
    return shown_value(row.get(roles.label) if roles.label else None, row, roles)


def shown_value(value: Any, row: Row, roles: Roles) -> str:
    """A label, labels, spans or a number, in words."""
    if isinstance(value, list | tuple | set | frozenset):
        if all(isinstance(v, Span) for v in value) and roles.text:
            text = str(row.get(roles.text) or "")
            return _cut("; ".join(f"{v.label}: {text[v.start : v.end]}" for v in sorted(value))) or "–"
        return _cut(", ".join(str(v) for v in value)) or "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return _cut("–" if value is None or value == "" else str(value))


def _cut(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_TEXT else flat[: MAX_TEXT - 1] + "…"
