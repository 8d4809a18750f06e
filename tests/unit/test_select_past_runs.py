"""A calibration learned from runs whose gains are known."""

import math

import numpy as np
import pytest

from penjing.select.expectation import Evidence, expect_error
from penjing.select.past_runs import ASSUMED, PastRun, fit_calibration

COSTS = ("p95_ms", "rows_per_s", "size_mb", "ram_mb", "train_minutes")


def past_run(rng, number, *, gain=-0.4, sd=0.1, noise=0.05, slope=0.0, basis="probe", ratio=True, speed=1.0):
    """A run whose true error follows the probe's by `gain`, and the short run's own gain by `slope`."""
    log_error = float(rng.uniform(-3, -1))
    run_ratio = float(rng.normal(-0.2, 0.4)) if ratio else None
    true = log_error + gain + slope * (run_ratio or 0.0) + rng.normal(0, sd)
    evidence = Evidence(
        basis=basis,
        log_error=log_error + float(rng.normal(0, noise)),
        standard_error=noise,
        test_error=noise,
        run_ratio=run_ratio,
    )
    actual = float(np.exp(true + rng.normal(0, noise)))
    costs = {name: float(speed * np.exp(rng.normal(0, 0.05))) for name in COSTS}
    return PastRun(
        name=f"run {number}",
        family=f"family {number}",
        evidence=evidence,
        predicted=dict.fromkeys(COSTS, 1.0),
        error=actual,
        costs=costs,
    )


def runs_of(count, seed=0, **settings):
    rng = np.random.default_rng(seed)
    return [past_run(rng, number, **settings) for number in range(count)]


def test_without_runs_everything_is_assumed():
    found = fit_calibration([], {"note": "none"})
    assert found.to_json() | {"provenance": None} == ASSUMED.to_json() | {"provenance": None}


def test_gain_slope_and_spread_are_recovered():
    found = fit_calibration(runs_of(200, slope=0.7), {})
    assert found.run_slope == pytest.approx(0.7, abs=0.08)
    assert found.run_gain.mean == pytest.approx(-0.4, abs=0.05)
    assert found.run_gain.sd == pytest.approx(0.1, abs=0.04)


def test_noise_of_probes_and_test_rows_is_not_counted_twice():
    quiet, loud = (fit_calibration(runs_of(200, noise=noise), {}).probe_gain.sd for noise in (0.01, 0.3))
    assert loud == pytest.approx(quiet, abs=0.08)


def test_a_machine_that_turns_out_slower_is_learned():
    found = fit_calibration(runs_of(40, speed=2.0), {})
    low, expected, high = found.costs["p95_ms"].bounds(10.0, 0.9)
    assert low < 20.0 < high and expected == pytest.approx(20.0, rel=0.1)


@pytest.mark.parametrize(
    ("basis", "field"), [("direct", "direct_gain"), ("stand-in", "stand_in_gain"), ("run", "run_only")]
)
def test_each_basis_has_its_own_gain(basis, field):
    found = fit_calibration(runs_of(60, basis=basis, ratio=False), {})
    assert getattr(found, field).mean == pytest.approx(-0.4, abs=0.06)
    assert found.probe_gain == ASSUMED.probe_gain


def test_intervals_from_other_runs_hold_about_as_often_as_they_say():
    held = 0
    for seed in range(30):
        runs = runs_of(11, seed=seed, sd=0.2, slope=0.5)
        for left_out in range(10):
            run = runs[left_out]
            calibration = fit_calibration([other for other in runs if other is not run], {})
            low, _, high = expect_error(run.evidence, calibration, 0.9)
            held += low <= run.error <= high
    assert 0.87 <= held / 300 <= 0.98


def test_a_figure_that_was_not_measured_is_left_out():
    runs = [run.model_copy(update={"costs": {}}) for run in runs_of(5)]
    assert fit_calibration(runs, {}).costs == ASSUMED.costs
    assert all(math.isfinite(spread.sd) for spread in fit_calibration(runs_of(1), {}).costs.values())
