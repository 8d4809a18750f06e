"""From evidence gathered before training to the expected metric, with an interval.

Everything happens on the scale of log error (1 - metric, or the metric where less is better), on which gains of
fine-tuning are alike over data sets. A pure function of evidence and calibration, so that a benchmark can ask what a
quote would have been had the calibration not seen that data set.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from penjing.select.calibration import Calibration, Spread, student_t

_CURVE_FREEDOM = 4  # of a standard error from five folds
Basis = Literal["probe", "run", "direct", "stand-in", "final"]


class Evidence(BaseModel):
    """What is known of a model's error before it is trained.

    `basis` says what was judged: a linear probe, a short training run (where there can be no probe), a model of the
    kind that will be trained (`direct`), a stand-in for one trained from scratch, or the final method itself (`final`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    basis: Basis
    log_error: float | None = Field(
        description="At the size of the training rows; None: the metric is undefined on the rows judged."
    )
    standard_error: float = Field(ge=0, description="Of `log_error`, from sampling and extrapolation.")
    test_error: float = Field(ge=0, description="Deviation of log error on the test rows, at this error.")
    run_ratio: float | None = Field(None, description="log(error of a short run / of a probe on the same rows).")
    run_share: float | None = Field(None, description="Steps of the short run over those of the full one.")
    label_gain: tuple[float, float] | None = Field(
        None, description="Fall of log error by 50 more labels, and its standard error."
    )


def expect_error(evidence: Evidence, calibration: Calibration, level: float) -> tuple[float, float, float]:
    """(low, expected, high) error of the trained model on the test rows, of which `log_error` has to be known."""
    assert evidence.log_error is not None
    spread = spread_of(evidence, calibration)
    start = evidence.log_error
    if evidence.basis == "probe" and evidence.run_ratio is not None:
        start += calibration.run_slope * evidence.run_ratio
    expected = start + spread.mean
    # Relative noise of a share grows as the share falls: the test sees fewer errors of a better model.
    noise = evidence.test_error * math.exp(max(0.0, evidence.log_error - expected) / 2)
    return spread.bounds(math.exp(start), level, sd_more=math.hypot(evidence.standard_error, noise))


def spread_of(evidence: Evidence, calibration: Calibration) -> Spread:
    """The spread that the expected error rests on."""
    if evidence.basis == "final":
        return Spread(0.0, calibration.direct_gain.sd, calibration.direct_gain.num_runs)
    if evidence.basis == "probe":
        return calibration.probe_gain if evidence.run_ratio is None else calibration.run_gain
    return {
        "run": calibration.run_only, "direct": calibration.direct_gain, "stand-in": calibration.stand_in_gain,
    }[evidence.basis]  # fmt: skip


def expect_label_gain(evidence: Evidence, error: float, level: float) -> tuple[float, float, float] | None:
    """(low, expected, high) fall of the error by 50 more labels, from the learning curve; None where there is none.

    Args:
        evidence: with the curve's fall of log error.
        error: the expected error before.
        level: how often the interval should hold.
    """
    if evidence.label_gain is None:
        return None
    fall, deviation = evidence.label_gain
    half = student_t(0.5 + level / 2, _CURVE_FREEDOM) * deviation
    falls = (max(0.0, fall - half), fall, fall + half)
    low, expected, high = (error * (1 - math.exp(-value)) for value in falls)
    return low, expected, high
