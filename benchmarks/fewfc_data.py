"""FewFC (Chinese financial events) as rows of spans, and its two scores.

An event's trigger becomes a span labelled "type/trigger", and each argument one labelled "type/role". The scores are
those that CasEE (Sheng et al. 2021) reports as TC and AC, both micro-F1 over the distinct tuples of each sentence:

- trigger classification: (event type, begin, end) of a trigger;
- argument classification: (event type, role, begin, end) of an argument, whichever trigger it belongs to.

CasEE re-split all ten event types (8,982 sentences) into train, dev and test; the files read here hold the five base
types only, so its figures (79.8 and 71.9) stand beside ours for orientation, not as a comparison on equal data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.task import Roles, Stats

ROLES = Roles(text="text", spans="spans")
TRIGGER = "trigger"


def read_fewfc(path: Path) -> list[dict[str, Any]]:
    """One row a distinct sentence: id, text, and the spans of all its events.

    Args:
        path: `train_base.json` or `test_base.json`, one JSON object a line.

    Raises:
        ValueError: a mention is not the piece of text it says it is.
    """
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        source = json.loads(line)
        text = source["content"]
        row = rows.setdefault(text, {"id": source["id"], "text": text, "spans": []})
        for event in source["events"]:
            for mention in event["mentions"]:
                start, end = mention["span"]
                if text[start:end] != mention["word"]:
                    raise ValueError(f"{path.name}:{number}: {mention['word']!r} is not at {start} to {end}")
                span = {"start": start, "end": end, "label": f"{event['type']}/{mention['role']}"}
                if span not in row["spans"]:
                    row["spans"].append(span)
    return list(rows.values())


def without(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows whose sentence is not among the others: some sentences stand in the train and the test file."""
    known = {row["text"] for row in others}
    return [row for row in rows if row["text"] not in known]


def event_scores(labels: Sequence[str], stats: Stats, unseen: Sequence[str]) -> dict[str, float]:
    """Precision, recall and F1 of triggers and of arguments.

    Args:
        labels: those of the task.
        stats: of a token classification.
        unseen: labels of the scored rows that training did not have, in order; their spans are missed.
    """
    is_trigger, is_missed_trigger = (
        np.array([label.rpartition("/")[2] == TRIGGER for label in names], bool) for names in (labels, unseen)
    )
    scores = {}
    for name, mask, missed in (
        ("trigger", is_trigger, is_missed_trigger),
        ("argument", ~is_trigger, ~is_missed_trigger),
    ):
        tp, fp, fn = (int(stats.columns[column][:, mask].sum()) for column in ("tp", "fp", "fn"))
        fn += int(stats.columns["unseen"][:, missed].sum())
        scores[f"{name}_precision"] = tp / (tp + fp) if tp + fp else 0.0
        scores[f"{name}_recall"] = tp / (tp + fn) if tp + fn else 0.0
        scores[f"{name}_f1"] = 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0
    return scores
