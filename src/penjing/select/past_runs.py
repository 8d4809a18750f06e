"""Learns a calibration from past runs: what was known before training, and what came true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from penjing.select.calibration import MIN_RUNS, Calibration, Spread, fit_spread
from penjing.select.expectation import Basis, Evidence

# What is believed before any run: fine-tuning removes a quarter of a probe's errors, give or take as much.
ASSUMED = Calibration(
    probe_gain=Spread(-0.3, 0.3, 0),
    run_slope=0.5,
    run_gain=Spread(-0.2, 0.25, 0),
    run_only=Spread(-0.5, 0.5, 0),
    direct_gain=Spread(0.0, 0.1, 0),
    stand_in_gain=Spread(0.15, 0.25, 0),
    costs={
        "p95_ms": Spread(0.0, 0.25, 0),
        "rows_per_s": Spread(0.0, 0.2, 0),
        "size_mb": Spread(0.0, 0.01, 0),
        "ram_mb": Spread(0.0, 0.05, 0),
        "train_minutes": Spread(0.0, 0.25, 0),
    },
    direct_costs={
        "p95_ms": Spread(0.0, 0.35, 0),
        "rows_per_s": Spread(0.0, 0.35, 0),
        "size_mb": Spread(0.0, 0.7, 0),
        "ram_mb": Spread(0.0, 0.1, 0),
        "train_minutes": Spread(0.0, 0.5, 0),
    },
    provenance={"note": "assumed; no run has been measured yet"},
)
_LEAST_SD = 0.05
_SLOPE_WEIGHT = 1.0  # of the assumed slope, in units of squared run ratio


class PastRun(BaseModel):
    """A quote's ingredients beside the outcome of the run that followed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    family: str = Field(description="Runs on rows of one source; an interval is never judged by its own family.")
    evidence: Evidence
    predicted: dict[str, float] = Field(description="Field of `Cost` → figure before calibration.")
    error: float = Field(gt=0, description="1 - metric on the test rows, or the metric where less is better.")
    costs: dict[str, float] = Field(description="Field of `Cost` → what was measured.")


def fit_calibration(runs: Sequence[PastRun], provenance: dict[str, Any]) -> Calibration:
    """A calibration from runs; where they are few, drawn towards `ASSUMED`.

    Args:
        runs: at most one a data set, model and size.
        provenance: what made them: data sets, commit, machine.
    """
    probed = _of(runs, "probe")
    with_run = [run for run in probed if run.evidence.run_ratio is not None]
    slope = _slope(with_run)
    direct = _of(runs, "direct")
    tables = [run for run in runs if run.evidence.basis == "direct"]
    return Calibration(
        probe_gain=_gain(probed, ASSUMED.probe_gain, 0.0),
        run_slope=slope,
        run_gain=_gain(with_run, ASSUMED.run_gain, slope),
        run_only=_gain(_of(runs, "run"), ASSUMED.run_only, 0.0),
        direct_gain=_gain(direct, ASSUMED.direct_gain, 0.0),
        stand_in_gain=_gain(_of(runs, "stand-in"), ASSUMED.stand_in_gain, 0.0),
        costs=_costs([run for run in runs if run not in tables], ASSUMED.costs),
        direct_costs=_costs(tables, ASSUMED.direct_costs),
        provenance=provenance,
    )


def _costs(runs: Sequence[PastRun], assumed: Mapping[str, Spread]) -> dict[str, Spread]:
    return {
        name: fit_spread(
            [math.log(run.costs[name] / run.predicted[name]) for run in runs if run.costs.get(name)], spread
        )
        for name, spread in assumed.items()
    }


def _of(runs: Sequence[PastRun], basis: Basis) -> list[PastRun]:
    return [run for run in runs if run.evidence.basis == basis and run.evidence.log_error is not None]


def _slope(runs: Sequence[PastRun]) -> float:
    """Ridge regression of the gain on the short run's own gain, towards the assumed slope, kept in [0, 1]."""
    if len(runs) < 3:
        return ASSUMED.run_slope
    ratios = np.array([run.evidence.run_ratio for run in runs], float)
    gains = np.array([math.log(run.error) - run.evidence.log_error for run in runs])
    x, y = ratios - ratios.mean(), gains - gains.mean()
    found = (x @ y + _SLOPE_WEIGHT * ASSUMED.run_slope) / (x @ x + _SLOPE_WEIGHT)
    return round(float(np.clip(found, 0.0, 1.0)), 4)


def _gain(runs: Sequence[PastRun], assumed: Spread, slope: float) -> Spread:
    """The spread of gains, without the noise of probes and test rows, which each quote adds for itself."""
    gains = [
        math.log(run.error) - run.evidence.log_error - slope * (run.evidence.run_ratio or 0.0 if slope else 0.0)
        for run in runs
    ]
    found = fit_spread(gains, assumed)
    if not runs:
        return found
    noise = np.mean([run.evidence.standard_error**2 + run.evidence.test_error**2 for run in runs])
    share = len(runs) / (len(runs) + MIN_RUNS)  # the assumed part of the variance holds no such noise
    return replace(found, sd=round(math.sqrt(max(found.sd**2 - share * float(noise), _LEAST_SD**2)), 4))
