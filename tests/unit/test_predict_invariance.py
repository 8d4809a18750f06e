"""Whether an answer depends on the rows beside it is found out, not assumed."""

import numpy as np
import pytest

from penjing.core.task import Prediction
from penjing.predict.invariance import MAX_ROWS, TOLERANCE, is_batch_invariant

ROWS = [{"text": str(i)} for i in range(5)]


class Answers:
    """Predicts each row from itself, and in a batch of more than one from its neighbours as told."""

    def __init__(self, beside):
        self.beside, self.asked = beside, []

    def predict(self, rows):
        self.asked.append(len(rows))
        return [self.beside(row, len(rows)) for row in rows]


def said(value, probs=None):
    return Prediction(value, 0.6, None if probs is None else np.array(probs))


@pytest.mark.parametrize(
    ("beside", "invariant"),
    [
        (lambda row, size: said("a", [0.6, 0.4]), True),
        (lambda row, size: said("a", [0.6 + TOLERANCE / 2 * (size > 1), 0.4]), True),
        (lambda row, size: said("a", [0.6 + TOLERANCE * 2 * (size > 1), 0.4]), False),
        (lambda row, size: said("b" if size > 1 and row["text"] == "4" else "a", [0.6, 0.4]), False),
        (lambda row, size: said(3.0 + 1e-5 * size), True),
        (lambda row, size: said(3.0 + 1e-2 * size), False),
        (lambda row, size: said((("A", 0, 2),)), True),
        (lambda row, size: said((("A", 0, 2),) if size == 1 else ()), False),
    ],
)
def test_an_answer_that_its_neighbours_change_is_found(beside, invariant):
    predictor = Answers(beside)
    assert is_batch_invariant(predictor, ROWS) is invariant
    assert predictor.asked[0] == len(ROWS), "all together first"


def test_of_many_rows_some_are_asked():
    predictor = Answers(lambda row, size: said("a", [0.6, 0.4]))
    assert is_batch_invariant(predictor, ROWS * 100)
    assert predictor.asked == [MAX_ROWS] + [1] * MAX_ROWS
