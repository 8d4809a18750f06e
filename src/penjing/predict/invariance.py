"""Does a row's prediction depend on its batch-mates? Measured, because it depends on the graph and on the kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penjing.core.task import Prediction, Row
from penjing.predict.predictor import Predictor

MAX_ROWS = 64
PROOF_ROWS = 256  # of a finished model: what moves one row in fifty is seen among so many
# Sums in another order differ in the last bits of 32; a quantised activation scale differs by far more.
TOLERANCE = 1e-4


def is_batch_invariant(predictor: Predictor, rows: Sequence[Row], most: int = MAX_ROWS) -> bool:
    """Whether rows predicted together and one by one get the same values, and probabilities within rounding.

    Args:
        predictor: of the model.
        rows: of its task.
        most: that are looked at, evenly spread.
    """
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
    together = predictor.predict(chosen)
    return all(_same(one, predictor.predict([row])[0]) for one, row in zip(together, chosen, strict=True))


def _same(first: Prediction, second: Prediction) -> bool:
    if first.probs is not None and second.probs is not None:
        return first.value == second.value and np.allclose(first.probs, second.probs, rtol=0, atol=TOLERANCE)
    if isinstance(first.value, float) and isinstance(second.value, float):
        return bool(np.isclose(first.value, second.value, rtol=TOLERANCE, atol=TOLERANCE))
    return bool(first.value == second.value)
