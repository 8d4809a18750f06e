"""What measured runs taught: how figures known before training relate to those that came true.

`calibration.json` is written by `benchmarks/quote_coverage.py --calibrate` and carries its own provenance. Each entry
is the distribution, over data sets, of log(actual / predicted); for the metric it is that of the error (1 - metric).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

FILE = "calibration.json"
# With fewer runs than this a distribution is an assumption, and wider than what was seen.
MIN_RUNS = 4


@dataclass(frozen=True)
class Spread:
    """log(actual / predicted) over past runs: normal with this mean and deviation, estimated from `num_runs`.

    Args:
        mean: 0 where predictions were right on average.
        sd: deviation of a single run.
        num_runs: 0: assumed, not measured.
    """

    mean: float
    sd: float
    num_runs: int

    def bounds(self, value: float, level: float, *, sd_more: float = 0.0) -> tuple[float, float, float]:
        """(low, expected, high) of the actual figure, given the predicted one.

        Args:
            value: the prediction, above 0.
            level: how often the interval should hold.
            sd_more: further deviation of log(actual / predicted), independent of this one.
        """
        deviation = math.hypot(self.predictive_sd, sd_more)
        reach = student_t(0.5 + level / 2, max(self.num_runs - 1, 4)) * deviation
        middle = math.log(value) + self.mean
        return math.exp(middle - reach), math.exp(middle), math.exp(middle + reach)

    @property
    def predictive_sd(self) -> float:
        """Deviation of the next run: that of a single run and that of the estimated mean (see `fit_spread`)."""
        return self.sd * math.sqrt(1 + 1 / (MIN_RUNS + self.num_runs)) if self.num_runs else self.sd


@dataclass(frozen=True)
class Calibration:
    """All spreads a quote uses.

    Args:
        probe_gain: log(error after fine-tuning / error of the linear probe at the same size).
        run_slope: with a short training run, the part of its own gain that is added to `run_gain`.
        run_gain: log(error after fine-tuning / error of the probe) - run_slope × log(short run / probe).
        run_only: log(error after fine-tuning / error after the short run), where there is no probe.
        direct_gain: log(error of the final model / error in the quote), for models that are learned directly.
        stand_in_gain: log(error of a model trained from scratch / error of TF-IDF with a linear model).
        costs: field of `Cost` → spread.
        direct_costs: the same for models that are learned directly, whose size is only known once they are.
        provenance: what made the figures.
    """

    probe_gain: Spread
    run_slope: float
    run_gain: Spread
    run_only: Spread
    direct_gain: Spread
    stand_in_gain: Spread
    costs: Mapping[str, Spread]
    direct_costs: Mapping[str, Spread]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def costs_of(self, basis: str) -> Mapping[str, Spread]:
        """The spreads of costs that belong to a basis of evidence."""
        return self.direct_costs if basis == "direct" else self.costs

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`."""
        spreads = ("probe_gain", "run_gain", "run_only", "direct_gain", "stand_in_gain")
        return cls(
            **{name: Spread(**values[name]) for name in spreads},
            run_slope=float(values["run_slope"]),
            costs={name: Spread(**value) for name, value in values["costs"].items()},
            direct_costs={name: Spread(**value) for name, value in values["direct_costs"].items()},
            provenance=values["provenance"],
        )


@cache
def shipped() -> Calibration:
    """The calibration that comes with this release."""
    return Calibration.from_json(json.loads(files("penjing.select").joinpath(FILE).read_text(encoding="utf-8")))


def fit_spread(log_ratios: Sequence[float], assumed: Spread) -> Spread:
    """Mean and deviation over runs; with few runs, drawn towards what is assumed.

    The assumption weighs as much as `MIN_RUNS` runs (a normal-inverse-gamma prior, read at its posterior means).
    """
    count = len(log_ratios)
    if not count:
        return assumed
    values = np.asarray(log_ratios, float)
    mean = (MIN_RUNS * assumed.mean + values.sum()) / (MIN_RUNS + count)
    squares = (
        MIN_RUNS * assumed.sd**2
        + np.square(values - values.mean()).sum()
        + MIN_RUNS * count / (MIN_RUNS + count) * (values.mean() - assumed.mean) ** 2
    )
    return Spread(round(float(mean), 4), round(math.sqrt(squares / (MIN_RUNS + count)), 4), count)


def student_t(probability: float, freedom: int) -> float:
    """Quantile of Student's t, by the expansion of Hill (1970); right to 0.3% for 4 degrees of freedom and more."""
    from statistics import NormalDist

    z = NormalDist().inv_cdf(probability)
    n = float(freedom)
    terms = (
        z,
        (z**3 + z) / (4 * n),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3),
    )
    return sum(terms)
