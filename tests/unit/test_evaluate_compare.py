"""Paired comparison, and verdicts on a budget."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate_cases import as_predictions, diabetes, digits
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from penjing.core.budget import Budget
from penjing.core.errors import CapabilityError
from penjing.core.report import Cost
from penjing.core.task import Prediction
from penjing.evaluate.compare import Contender, compare_predictions, mcnemar
from penjing.evaluate.config import EvaluateConfig
from penjing.evaluate.evaluate import evaluate
from penjing.evaluate.verdict import overall, rows_to_settle, verdicts

QUICK = EvaluateConfig(resamples=300)


def contender(model):
    case = digits(model)
    return Contender(model, case.task, as_predictions(case.task, case.test_probs))


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    a = np.repeat([True, False, True, False], [only_a, only_b, 5, 3])
    b = np.repeat([False, True, True, False], [only_a, only_b, 5, 3])
    found = mcnemar(a, b)
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert (found.only_a_right, found.only_b_right) == (only_a, only_b)
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_a_better_model_is_found_better_and_the_other_way_round_worse():
    table = digits().test
    found = compare_predictions(table, contender("bayes"), contender("logistic"), QUICK)
    accuracy = found.metrics["accuracy"]
    assert accuracy.outcome == "better" and accuracy.low > 0 and accuracy.p_value < 0.05
    assert accuracy.difference == pytest.approx(accuracy.b - accuracy.a)
    assert found.metrics["log_loss"].outcome == "better" and found.metrics["log_loss"].difference < 0
    assert found.mcnemar.p_value < 0.05
    back = compare_predictions(table, contender("logistic"), contender("bayes"), QUICK)
    assert back.metrics["accuracy"].outcome == "worse"
    assert back.metrics["accuracy"].high == pytest.approx(-accuracy.low)


def test_a_model_does_not_differ_from_itself():
    found = compare_predictions(digits().test, contender("logistic"), contender("logistic"), QUICK)
    assert found.metrics["accuracy"].outcome == "undecided"
    assert found.metrics["accuracy"].p_value == 1.0 == found.mcnemar.p_value
    # Not one row of so many differs: that bounds the share that would, and says nothing of macro-F1.
    assert found.metrics["accuracy"].high == -found.metrics["accuracy"].low == pytest.approx(3.84 / found.n, rel=0.02)
    assert found.metrics["macro_f1"].low is None and found.metrics["macro_f1"].difference == 0


def test_pairing_is_sharper_than_two_intervals_side_by_side():
    case, good = digits(), contender("logistic")
    probs = case.test_probs.copy()
    probs[:12] = np.roll(probs[:12], 1, axis=1)  # a dozen answers are spoilt
    spoilt = Contender("spoilt", case.task, as_predictions(case.task, probs))
    found = compare_predictions(case.test, good, spoilt, QUICK).metrics["accuracy"]
    alone = [evaluate(c.task, case.test, c.predictions, QUICK).metrics["accuracy"] for c in (good, spoilt)]
    assert alone[1].high > alone[0].low  # side by side they overlap
    assert found.outcome == "worse"


def test_luck_is_rarely_called_a_difference():
    """Two models of equal skill and independent errors: about 5 in 100 comparisons may err."""
    case = digits()
    truth = np.array([int(row["digit"]) for row in case.test.rows])
    rng = np.random.default_rng(4)
    table = case.test.take(range(300))
    wrongly = 0
    for _ in range(40):
        sides = []
        for name in "ab":
            said = np.where(rng.random(300) < 0.85, truth[:300], (truth[:300] + 1) % 10)
            probs = np.full((300, 10), 0.01)
            probs[np.arange(300), said] = 0.91
            sides.append(Contender(name, case.task, as_predictions(case.task, probs)))
        found = compare_predictions(table, *sides, EvaluateConfig(resamples=100))
        wrongly += found.metrics["accuracy"].outcome != "undecided"
    assert wrongly <= 7


def test_models_of_different_kinds_are_not_compared():
    task, table, predictions = diabetes()
    with pytest.raises(CapabilityError, match=r"tabular-regression.*tabular-classification"):
        compare_predictions(table, Contender("a", task, predictions), contender("bayes"), QUICK)


@pytest.fixture(scope="module")
def block():
    case = digits()
    return evaluate(case.task, case.test, as_predictions(case.task, case.test_probs), QUICK)


def test_a_floor_passes_fails_or_stays_open_with_the_rows_that_settle_it(block):
    metric = block.metrics[block.primary]
    for floor, state in (
        (metric.low - 0.001, "PASS"),
        (metric.high + 0.001, "FAIL"),
        (metric.value - 0.002, "INCONCLUSIVE"),
    ):
        (found,) = verdicts(Budget(metric=100 * floor), block, Cost())
        assert found.state == state
        assert (found.rows_to_settle is not None) == (state == "INCONCLUSIVE")
    assert found.rows_to_settle > 10 * metric.n


@pytest.mark.parametrize(("floor", "state"), [(99, "INCONCLUSIVE"), (70, "PASS")])
def test_twelve_rows_all_right_do_not_prove_99_percent(floor, state):
    case = digits()
    few = case.test.take(range(12))
    probs = np.full((12, 10), 0.001)
    probs[np.arange(12), [int(row["digit"]) for row in few.rows]] = 0.991
    found = evaluate(case.task, few, as_predictions(case.task, probs), QUICK)
    assert found.primary == "accuracy" and found.metrics["accuracy"].value == 1.0
    assert verdicts(Budget(metric=floor), found, Cost())[0].state == state
    assert {row.f1_low for row in found.classes} == {None}


def test_the_rows_said_to_settle_it_do_settle_it():
    """An interval on that many rows has its bound at the limit."""
    n, value, limit = 500, 0.90, 0.88
    half = 1.96 * np.sqrt(value * (1 - value) / n)
    needed = rows_to_settle(n, value - limit, half)
    assert 1.96 * np.sqrt(value * (1 - value) / needed) == pytest.approx(value - limit, rel=0.01)
    assert rows_to_settle(n, 0.0, half) is None


def test_costs_are_held_to_their_limits_and_unmeasured_ones_stay_open(block):
    budget = Budget(p95_ms=5, rows_per_s=100, size_mb=20, ram_mb=300, concurrency=1)
    found = {v.constraint: v.state for v in verdicts(budget, block, Cost(p95_ms=4.9, rows_per_s=99, size_mb=20.0))}
    assert found == {"p95_ms": "PASS", "rows_per_s": "FAIL", "size_mb": "PASS", "ram_mb": "INCONCLUSIVE"}
    busy = Budget(p95_ms=5, concurrency=8)
    assert verdicts(busy, block, Cost(p95_ms=1.0, concurrency=1))[0].state == "INCONCLUSIVE"
    for least, most, state in ((3.0, 4.0, "PASS"), (4.0, 6.0, "INCONCLUSIVE"), (5.5, 6.0, "FAIL")):
        spread = Cost(p95_ms=(least + most) / 2, ranges={"p95_ms": (least, most)})
        (verdict,) = verdicts(Budget(p95_ms=5), block, spread)
        assert (verdict.state, verdict.low, verdict.high) == (state, least, most)
    (verdict,) = verdicts(Budget(rows_per_s=100), block, Cost(rows_per_s=110, ranges={"rows_per_s": (90, 130)}))
    assert verdict.state == "INCONCLUSIVE"


def test_a_drop_is_judged_on_the_paired_difference(block):
    case = digits()
    comparison = compare_predictions(case.test, contender("logistic"), contender("bayes"), QUICK)
    lost = -100 * comparison.metrics[block.primary].difference
    assert lost > 0
    state = {limit: verdicts(Budget(drop=limit), block, Cost(), comparison)[0] for limit in (0.01, lost, lost + 10)}
    assert [v.state for v in state.values()] == ["FAIL", "INCONCLUSIVE", "PASS"]
    assert state[0.01].value == pytest.approx(lost)
    assert verdicts(Budget(drop=1), block, Cost())[0].state == "INCONCLUSIVE"


def test_a_ceiling_for_errors_is_read_the_other_way_round():
    task, table, predictions = diabetes()
    found = evaluate(task, table, predictions, QUICK).model_copy(update={"primary": "rmse"})
    metric = found.metrics["rmse"]
    assert not metric.higher_is_better and not metric.percent
    assert verdicts(Budget(metric=metric.high * 1.01), found, Cost())[0].state == "PASS"
    assert verdicts(Budget(metric=metric.low * 0.99), found, Cost())[0].state == "FAIL"


def test_one_failure_fails_all_and_one_doubt_leaves_all_open(block):
    passes, fails, open_ = Budget(size_mb=1), Budget(size_mb=1, ram_mb=1), Budget(size_mb=1, p95_ms=1)
    cost = Cost(size_mb=0.5, ram_mb=2)
    assert [overall(verdicts(b, block, cost)) for b in (passes, fails, open_, Budget())] == [
        "PASS",
        "FAIL",
        "INCONCLUSIVE",
        None,
    ]


def test_predictions_without_confidence_can_be_compared():
    task, table, predictions = diabetes()
    shifted = [Prediction(p.value + 30) for p in predictions]
    found = compare_predictions(table, Contender("a", task, predictions), Contender("b", task, shifted), QUICK)
    assert found.mcnemar is None
    assert found.metrics["mae"].outcome == "worse"
