"""The evaluation block, against scikit-learn on real predictions."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate_cases import as_predictions, diabetes, digits
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from penjing.core.errors import ArtifactError, DataError
from penjing.core.report import Evaluation, read_report
from penjing.core.task import Roles, Table
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.outcomes import UNSEEN
from penjing.evaluate.slices import by_number
from penjing.tasks.text_multi_label import MultiLabel

QUICK = EvaluateConfig(resamples=100)


@pytest.fixture(scope="module")
def block() -> Evaluation:
    case = digits()
    config = EvaluateConfig(resamples=200, slices=("writer", "ink"))
    return evaluate(case.task, case.test, as_predictions(case.task, case.test_probs), config)


@pytest.fixture(scope="module")
def truth_and_answer():
    case = digits()
    predictions = as_predictions(case.task, case.test_probs)
    return [row["digit"] for row in case.test.rows], [p.value for p in predictions]


def test_classes_and_confusion_agree_with_scikit_learn(block, truth_and_answer):
    true, said = truth_and_answer
    precision, recall, f1, support = precision_recall_fscore_support(true, said, labels=list("0123456789"))
    assert [c.label for c in block.classes] == list("0123456789")
    np.testing.assert_allclose([c.precision for c in block.classes], precision)
    np.testing.assert_allclose([c.recall for c in block.classes], recall)
    np.testing.assert_allclose([c.f1 for c in block.classes], f1)
    assert [c.support for c in block.classes] == support.tolist()
    assert all(c.f1_low <= c.f1 <= c.f1_high for c in block.classes)
    matrix = np.zeros((10, 10), int)
    for t, p, n in block.confusion.cells:
        matrix[t, p] = n
    np.testing.assert_array_equal(matrix, confusion_matrix(true, said))


def test_metrics_carry_their_intervals_and_the_number_of_rows(block, truth_and_answer):
    accuracy = block.metrics["accuracy"]
    assert accuracy.value == pytest.approx(accuracy_score(*truth_and_answer))
    assert accuracy.low < accuracy.value < accuracy.high
    assert accuracy.n == len(truth_and_answer[0]) == 997
    assert block.num_mistakes == sum(t != p for t, p in zip(*truth_and_answer, strict=True))


def test_slices_cover_every_row_and_small_ones_are_flagged_not_hidden(block, truth_and_answer):
    by_writer = [s for s in block.slices if s.dimension == "writer"]
    assert sum(s.metric.n for s in by_writer) == 997
    assert [s.value for s in by_writer if s.small] == ["rare writer"]
    assert not any(s.worse for s in by_writer if s.small)
    by_ink = [s for s in block.slices if s.dimension == "ink"]
    assert len(by_ink) == 4
    assert sum(s.metric.n for s in by_ink) == 997
    right = np.equal(*map(np.array, truth_and_answer))
    ink = np.array([row["ink"] for row in digits().test.rows])
    least = ink <= np.quantile(ink, 0.25, method="inverted_cdf")
    assert by_ink[0].metric.value == pytest.approx(right[least].mean())


def test_a_slice_that_is_served_worse_is_flagged():
    case = digits()
    probs = case.test_probs.copy()
    harmed = np.array([row["writer"] == "writer 3" for row in case.test.rows])
    probs[harmed] = np.roll(probs[harmed], 1, axis=1)  # every answer of one writer is off by one
    found = evaluate(
        case.task, case.test, as_predictions(case.task, probs), EvaluateConfig(resamples=100, slices=("writer",))
    )
    assert [s.value for s in found.slices if s.worse] == ["writer 3"]


def test_an_unknown_slice_column_names_the_closest():
    case = digits()
    with pytest.raises(DataError, match=r"no column 'writr'.*did you mean 'writer'"):
        evaluate(
            case.task,
            case.test,
            as_predictions(case.task, case.test_probs),
            EvaluateConfig(resamples=100, slices=("writr",)),
        )


def test_worst_mistakes_are_mistakes_and_the_surest_come_first(block, truth_and_answer):
    rows = dict(zip(digits().test.row_ids, zip(*truth_and_answer, strict=True), strict=True))
    assert len(block.mistakes) == min(20, block.num_mistakes)
    assert all(rows[m.row_id] == (m.truth, m.predicted) and m.truth != m.predicted for m in block.mistakes)
    sure = [m.confidence for m in block.mistakes]
    assert sure == sorted(sure, reverse=True)


def test_no_mistake_is_quoted_where_none_is_wanted():
    case = digits()
    config = EvaluateConfig(resamples=100, num_mistakes=0)
    assert evaluate(case.task, case.test, as_predictions(case.task, case.test_probs), config).mistakes == []


def test_a_class_that_training_never_saw_is_a_row_of_its_own():
    case = digits()
    rows = [dict(row) for row in case.test.rows]
    for row in rows[:40]:
        row["digit"] = "ten"
    table = Table(rows, case.test.row_ids, "test")
    found = evaluate(case.task, table, as_predictions(case.task, case.test_probs), QUICK)
    unseen = found.classes[-1]
    assert (unseen.label, unseen.support, unseen.predicted, unseen.recall) == (UNSEEN, 40, 0, 0.0)
    assert sum(n for t, _, n in found.confusion.cells if t == 10) == 40


def test_numbers_have_errors_but_no_classes():
    task, table, predictions = diabetes()
    found = evaluate(task, table, predictions, QUICK)
    assert found.classes == [] and found.confusion is None and found.calibration is None
    errors = [abs(row["progress"] - p.value) for row, p in zip(table.rows, predictions, strict=True)]
    assert found.mistakes[0].severity == pytest.approx(max(errors))
    assert found.metrics["mae"].value == pytest.approx(np.mean(errors))
    assert not found.metrics["mae"].higher_is_better


class Topics:
    """The real multi-label decision over rows with a list of labels."""

    kind, calibration, roles = "topics", "sigmoid", Roles(text="text", label="topics")
    labels, temperature = ("card", "fee", "pin"), 1.0

    def __init__(self):
        self.decision = MultiLabel(self.labels, (0.5, 0.5, 0.5), False)
        self.metrics, self.primary = self.decision.metrics, self.decision.primary

    def score(self, rows, predictions):
        return self.decision.score(rows, "topics", predictions)

    def aggregate(self, stats):
        return self.decision.aggregate(stats)

    def lengths(self, rows):
        return np.array([len(row["text"]) for row in rows])


def test_several_labels_a_row_count_by_label_and_an_unknown_label_is_missed():
    task = Topics()
    logits = np.array([[3.0, -3, -3], [2, 2, -4], [-3, -3, -3], [-2, 4, -2]])
    truths = [["card"], ["card"], ["pin"], ["fee", "loan"]]
    rows = [{"text": "x" * (i + 1), "topics": topics} for i, topics in enumerate(truths)]
    found = evaluate(task, Table(rows, list("abcd"), "test"), task.decision.decode(logits), QUICK)
    by_label = {c.label: (c.support, c.predicted) for c in found.classes}
    assert by_label == {"card": (2, 2), "fee": (1, 2), "pin": (1, 0), UNSEEN: (1, 0)}
    assert found.num_mistakes == 3 and found.confusion is None
    assert {(m.row_id, m.truth, m.predicted) for m in found.mistakes} == {
        ("b", "card", "card, fee"),
        ("c", "pin", "–"),
        ("d", "fee, loan", "fee"),
    }
    assert sum(b.n for b in found.calibration.bins_after) == 12


def test_predictions_and_rows_must_pair():
    case = digits()
    predictions = as_predictions(case.task, case.test_probs)
    with pytest.raises(DataError, match="996 predictions for 997 rows"):
        evaluate(case.task, case.test, predictions[1:], QUICK)
    with pytest.raises(DataError, match="no row to evaluate"):
        evaluate(case.task, case.test.take([]), [], QUICK)


def test_ranges_of_a_number_cover_every_row_once_and_equal_numbers_make_none():
    values = np.array([1, 1, 1, 1, 1, 2, 3, 9])
    parts = by_number("length", values)
    assert sorted(np.concatenate([p.index for p in parts]).tolist()) == list(range(8))
    assert by_number("length", np.ones(8)) == []


def test_a_file_that_is_no_report_is_refused(tmp_path):
    path = tmp_path / "report.json"
    with pytest.raises(ArtifactError, match="no such report"):
        read_report(path)
    for text, message in (
        ("{", "not a report"),
        ("[]", "not a report"),
        ('{"report_version": 1}', "not a report: name"),
        ('{"report_version": 2, "more": 1}', "report version 2 is newer"),
    ):
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            read_report(path)
