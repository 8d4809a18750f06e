"""What a task makes of logits, by the temperature and the thresholds that a finished model would have.

Both are chosen on the validation rows at the end (`pipeline/proof.py`); what is compared before that has to be judged
by its own as well, or a student would be held to thresholds that suit its teacher.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penjing.core.task import Batch, Prediction, Row, Table, Task
from penjing.evaluate.evaluate import temperature_for

_BATCH_ROWS = 64


def answers(task: Task, rows: Sequence[Row], logits_NC: np.ndarray) -> list[Prediction]:
    """Predictions.

    Args:
        task: with its temperature and thresholds.
        rows: as many.
        logits_NC: one a row.
    """
    return _of_batches(task, _encoded(task, rows), logits_NC)


def settled(task: Task, valid: Table, logits_NC: np.ndarray) -> tuple[Task, list[Prediction]]:
    """The task with temperature and thresholds chosen for these logits, and what it predicts of them.

    Args:
        task: with a `calibration`.
        valid: validation rows.
        logits_NC: one a row.
    """
    batches = _encoded(task, valid.rows)  # once: neither of the two changes how a row is read
    task = task.with_temperature(temperature_for(task, valid, _of_batches(task, batches, logits_NC)))
    if hasattr(task, "fit_decision"):
        task = task.fit_decision(valid.rows, _of_batches(task, batches, logits_NC))
    return task, _of_batches(task, batches, logits_NC)


def _encoded(task: Task, rows: Sequence[Row]) -> list[Batch]:
    return [task.encode(rows[at : at + _BATCH_ROWS]) for at in range(0, len(rows), _BATCH_ROWS)]


def _of_batches(task: Task, batches: Sequence[Batch], logits_NC: np.ndarray) -> list[Prediction]:
    found: list[Prediction] = []
    for place, batch in enumerate(batches):
        outputs = {"logits": logits_NC[place * _BATCH_ROWS : (place + 1) * _BATCH_ROWS].astype(np.float32)}
        found += task.predict(lambda _, given=outputs: given, batch)
    return found
