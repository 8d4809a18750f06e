"""Learning curves, calibration and expectation: figures known in closed form."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from penjing.select.calibration import Calibration, Spread, fit_spread, shipped, student_t
from penjing.select.expectation import Evidence, expect_error, expect_label_gain
from penjing.select.learning_curve import Curve, at, jackknife


def power_law(sizes, a, b, c):
    return tuple(c + a * n**-b for n in sizes)


SIZES = (100, 200, 400, 800)


@pytest.mark.parametrize(("a", "b", "c"), [(2.0, 0.4, 0.0), (1.5, 0.3, 0.02), (3.0, 0.7, 0.05)])
def test_an_inverse_power_law_is_continued(a, b, c):
    errors = power_law(SIZES, a, b, c)
    (expected,) = power_law((1600,), a, b, c)
    assert math.exp(at(SIZES, errors, 1600)) == pytest.approx(expected, rel=0.06)


def test_the_curve_is_anchored_at_the_greatest_size():
    errors = (0.5, 0.41, 0.28, 0.22)
    assert math.exp(at(SIZES, errors, 800)) == pytest.approx(0.22)


def test_a_flat_or_rising_curve_promises_nothing():
    for errors in ((0.3, 0.3, 0.3, 0.3), (0.2, 0.22, 0.25, 0.3)):
        assert Curve(SIZES, errors).log_gain(800, 50)[0] == pytest.approx(0.0, abs=1e-9)


def test_more_labels_help_less_where_there_are_many():
    curve = Curve(SIZES, power_law(SIZES, 2.0, 0.4, 0.0))
    few, many = curve.log_gain(100, 50)[0], curve.log_gain(800, 50)[0]
    assert few > many > 0
    assert many == pytest.approx(0.4 * math.log(850 / 800), rel=0.25)


def test_extrapolation_is_less_sure_than_measurement():
    replicates = tuple(power_law(SIZES, 2.0 + d, 0.4, 0.0) for d in (-0.1, 0.0, 0.1))
    curve = Curve(SIZES, power_law(SIZES, 2.0, 0.4, 0.0), replicates)
    assert curve.log_error(8_000)[1] > curve.log_error(800)[1] > 0


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).standard_normal(12)
    left_out = [np.delete(values, i).mean() for i in range(12)]
    assert jackknife(left_out) == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    assert jackknife([1.0]) == 0.0


@pytest.mark.parametrize("freedom", [4, 5, 9, 30])
@pytest.mark.parametrize("probability", [0.9, 0.95, 0.975])
def test_student_quantiles(freedom, probability):
    assert student_t(probability, freedom) == pytest.approx(student.ppf(probability, freedom), rel=0.003)


def test_a_spread_is_drawn_to_its_assumption_where_runs_are_few():
    assumed = Spread(0.0, 0.3, 0)
    assert fit_spread([], assumed) == assumed
    few, many = fit_spread([-0.6, -0.4], assumed), fit_spread([-0.6, -0.4] * 50, assumed)
    assert -0.5 < few.mean < 0 and few.num_runs == 2
    assert many.mean == pytest.approx(-0.5, abs=0.03)
    assert many.sd == pytest.approx(0.1, abs=0.06)


def test_bounds_hold_about_as_often_as_they_say():
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        past, actual = rng.normal(-0.3, 0.2, 12), rng.normal(-0.3, 0.2)
        spread = Spread(float(past.mean()), float(past.std(ddof=1)), 12)
        low, _, high = spread.bounds(1.0, 0.9)
        held += low <= math.exp(actual) <= high
    assert 0.86 <= held / 400 <= 0.94


def evidence(**more):
    values = {"basis": "probe", "log_error": math.log(0.2), "standard_error": 0.05, "test_error": 0.1}
    return Evidence(**(values | more))


def test_a_small_test_set_and_a_shaky_probe_widen_the_interval():
    calibration = shipped()
    low, expected, high = expect_error(evidence(), calibration, 0.9)
    assert low < expected < high
    for wider in (evidence(test_error=0.5), evidence(standard_error=0.5)):
        found = expect_error(wider, calibration, 0.9)
        assert found[1] == pytest.approx(expected) and found[0] < low and found[2] > high
    assert expect_error(evidence(), calibration, 0.99)[2] > high


def test_a_short_run_that_beats_the_probe_raises_the_expectation():
    calibration = shipped()
    better = expect_error(evidence(run_ratio=-0.5, run_share=0.3), calibration, 0.9)[1]
    worse = expect_error(evidence(run_ratio=0.5, run_share=0.3), calibration, 0.9)[1]
    assert better < worse


def test_label_gains_never_fall_below_nothing():
    assert expect_label_gain(evidence(), 0.2, 0.9) is None
    low, expected, high = expect_label_gain(evidence(label_gain=(0.02, 0.05)), 0.2, 0.9)
    assert low == 0.0
    assert expected == pytest.approx(0.2 * (1 - math.exp(-0.02)))
    assert high > expected


def test_the_shipped_calibration_round_trips_and_names_its_origin():
    calibration = shipped()
    assert Calibration.from_json(calibration.to_json()) == calibration
    assert calibration.provenance
    assert {"p95_ms", "rows_per_s", "size_mb", "ram_mb", "train_minutes"} <= calibration.costs.keys()


def test_undefined_replicates_do_not_count():
    errors, undefined = (0.5, 0.41, 0.28, 0.22), (math.nan,) * 4
    others = tuple(tuple(value + 0.01 * k for value in errors) for k in range(3))
    assert Curve(SIZES, errors, (undefined, *others)).log_error(800) == Curve(SIZES, errors, others).log_error(800)
    few = Curve(SIZES, errors, (undefined, *others[:2]))
    assert few.log_error(800) == Curve(SIZES, errors).log_error(800)
    assert few.log_gain(800, 50) == Curve(SIZES, errors).log_gain(800, 50)
