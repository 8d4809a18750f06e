"""Temperature scaling and calibration error, from probabilities alone."""

from __future__ import annotations

import numpy as np
import pytest
from evaluate_cases import as_predictions, digits
from hypothesis import given
from hypothesis import strategies as st

from penjing.core.errors import CapabilityError
from penjing.evaluate.calibration import fit_temperature, reliability, rescale
from penjing.evaluate.evaluate import calibrate, temperature_for


def digit_targets(case, table):
    return np.array([case.task.labels.index(row["digit"]) for row in table.rows])


@given(st.floats(0.2, 5.0), st.sampled_from(["softmax", "sigmoid"]), st.integers(0, 100))
def test_a_temperature_is_undone_by_its_inverse_and_keeps_the_order(temperature, kind, seed):
    # Wider apart, the sharpest temperature puts a probability below the least that is kept, and nothing brings it back.
    scores = np.random.default_rng(seed).normal(size=(20, 4)).clip(-2.5, 2.5)
    probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True) if kind == "softmax" else 1 / (1 + np.exp(-scores))
    scaled = rescale(probs, temperature, kind)
    np.testing.assert_allclose(rescale(scaled, 1 / temperature, kind), probs, atol=1e-6)
    assert (np.argsort(scaled, axis=1) == np.argsort(probs, axis=1)).all()


def test_rescaling_is_dividing_the_logits():
    logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
    powers = np.exp(logits / 1.7)
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(rescale(probs, 1.7, "softmax"), powers / powers.sum(1, keepdims=True))
    np.testing.assert_allclose(rescale(1 / (1 + np.exp(-logits)), 1.7, "sigmoid"), 1 / (1 + np.exp(-logits / 1.7)))


def test_the_fitted_temperature_is_the_best_of_a_fine_grid():
    case = digits("bayes")
    targets = digit_targets(case, case.valid)
    found = fit_temperature(case.valid_probs, targets, "softmax")

    def loss(t):
        probs = rescale(case.valid_probs, t, "softmax")
        return -np.log(np.clip(probs[np.arange(len(probs)), targets], 1e-12, 1)).mean()

    best = min(np.geomspace(0.05, 20, 2000), key=loss)
    # The doubt that is kept, one row in N + 2, softens a little further; the prior holds back a little.
    assert found == pytest.approx(best, rel=0.25)
    assert loss(found) < loss(best) + 0.01
    assert found > 1.5  # naive Bayes is far too sure of itself


def test_temperature_recovers_what_was_done_to_calibrated_labels():
    rng = np.random.default_rng(1)
    probs = 1 / (1 + np.exp(-rng.normal(size=(4000, 3))))
    labels = (rng.random(probs.shape) < probs).astype(int)  # labels drawn from the probabilities: calibrated
    assert fit_temperature(rescale(probs, 0.5, "sigmoid"), labels, "sigmoid") == pytest.approx(2.0, rel=0.1)
    assert fit_temperature(probs, labels, "sigmoid") == pytest.approx(1.0, rel=0.1)


def test_rows_without_a_known_class_do_not_count_and_no_rows_give_one():
    case = digits("bayes")
    targets = digit_targets(case, case.valid)
    some = targets.copy()
    some[::2] = -1
    fitted = fit_temperature(case.valid_probs, some, "softmax")
    assert fitted == fit_temperature(case.valid_probs[1::2], targets[1::2], "softmax")
    assert fit_temperature(case.valid_probs, np.full(len(targets), -1), "softmax") == 1.0


def test_expected_calibration_error_agrees_with_its_definition():
    case = digits("bayes")
    targets = digit_targets(case, case.test)
    error, bins = reliability(case.test_probs, targets, "softmax")
    confidence = case.test_probs.max(1)
    right = case.test_probs.argmax(1) == targets
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence >= low) & ((confidence < low + 1 / 15) | ((low > 0.93) & (confidence >= low)))
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert error == pytest.approx(expected, abs=1e-9)
    assert sum(b.n for b in bins) == len(targets)


def test_temperature_from_validation_rows_calibrates_test_rows():
    case = digits("bayes")
    task = case.task.with_temperature(
        temperature_for(case.task, case.valid, as_predictions(case.task, case.valid_probs))
    )
    softened = as_predictions(task, rescale(case.test_probs, task.temperature, "softmax"))
    block = calibrate(task, task.score(case.test.rows, softened), softened)
    raw_error, _ = reliability(case.test_probs, digit_targets(case, case.test), "softmax")
    assert block.ece_before == pytest.approx(
        raw_error, abs=0.002
    )  # the temperature is undone, nothing is predicted twice
    assert block.ece_after < 0.7 * block.ece_before
    again = temperature_for(
        task, case.valid, as_predictions(task, rescale(case.valid_probs, task.temperature, "softmax"))
    )
    assert again == pytest.approx(task.temperature, rel=0.02)  # it replaces the present one, it does not pile up


def test_a_task_without_probabilities_is_not_calibrated():
    from evaluate_cases import diabetes

    task, table, predictions = diabetes()
    assert calibrate(task, task.score(table.rows, predictions), predictions) is None
    with pytest.raises(CapabilityError, match="no probabilities"):
        temperature_for(task, table, predictions)


@pytest.mark.parametrize("num_rows", [10, 90])
def test_few_rows_that_are_all_right_do_not_justify_any_confidence(num_rows):
    probs = np.tile([0.8, 0.1, 0.1], (num_rows, 1))
    temperature = fit_temperature(probs, np.zeros(num_rows, int), "softmax")
    confidence = rescale(probs, temperature, "softmax")[0, 0]
    assert 0.8 < confidence < 1 - 1 / (num_rows + 2) + 0.01


def test_a_dozen_rows_move_the_temperature_less_than_many():
    """Averaged over data sets, confidence calibrated on 12 rows is closer to the truth than one left as it was."""
    rng = np.random.default_rng(3)

    def drawn(count, temperature):
        logits = rng.normal(0, 2, (count, 3))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        targets = (probs.cumsum(1) > rng.random((count, 1))).argmax(1)
        return rescale(probs, 1 / temperature, "softmax"), targets

    errors = []
    for true in np.exp(rng.normal(0, 0.4, 40)):
        probs, targets = drawn(2_000, true)
        found = [fit_temperature(*drawn(count, true), "softmax") for count in (12, 500)]
        errors.append([reliability(rescale(probs, t, "softmax"), targets, "softmax")[0] for t in (1.0, *found)])
    untouched, few, many = np.mean(errors, axis=0)
    assert many < few < untouched
