"""How a model's error falls with the number of labels: measured at a few sizes, continued by an inverse power law.

error(n) = c + a n^-b is what learning curves follow over the sizes that matter here (Hestness et al. 2017; Viering and
Loog 2021). Error means 1 - metric for metrics whose best value is 1, and the metric itself where less is better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Shares of the least measured error that may be irreducible (c); the curve is the mean over those that explain it well.
_ASYMPTOTES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)
_LEAST_NOISE = 0.02  # of log error, where the fit would be exact
_MAX_EXPONENT = 1.0
_MIN_REPLICATES = 3
# An extrapolation is off by about this share of its own length, in either direction.
EXTRAPOLATION_ERROR = 0.35


@dataclass(frozen=True)
class Curve:
    """Errors at several sizes.

    Args:
        sizes: [S] training rows, ascending.
        errors: [S] error of a model trained on that many rows, NaN where it is undefined.
        replicates: [F, S] the errors without one fold (jackknife), or [0, S] where there was one fold only; those that
            are undefined (an AUC without positives) are left out, and all where fewer than three are defined.
    """

    sizes: tuple[int, ...]
    errors: tuple[float, ...]
    replicates: tuple[tuple[float, ...], ...] = ()

    @property
    def known(self) -> Curve | None:
        """The sizes at which the error is defined; None where it is not at the greatest, which anchors all else."""
        places = np.flatnonzero(np.isfinite(self.errors))
        if len(self.sizes) - 1 not in places:
            return None
        replicates = tuple(tuple(errors[i] for i in places) for errors in self.replicates)
        return Curve(tuple(self.sizes[i] for i in places), tuple(self.errors[i] for i in places), replicates)

    @property
    def defined(self) -> tuple[tuple[float, ...], ...]:
        """The replicates that count."""
        found = tuple(errors for errors in self.replicates if np.isfinite(errors).all())
        return found if len(found) >= _MIN_REPLICATES else ()

    def log_error(self, num_rows: float) -> tuple[float, float]:
        """(log error, its standard error) at a size, anchored at the greatest size measured."""
        value = at(self.sizes, self.errors, num_rows)
        spread = jackknife([at(self.sizes, errors, num_rows) for errors in self.defined])
        reach = value - float(np.log(self.errors[-1]))
        return value, float(np.hypot(spread, EXTRAPOLATION_ERROR * reach))

    def log_gain(self, num_rows: float, more_rows: float) -> tuple[float, float]:
        """(fall of log error from `num_rows` to `num_rows + more_rows`, its standard error); at least 0."""

        def fall(errors: Sequence[float]) -> float:
            return at(self.sizes, errors, num_rows) - at(self.sizes, errors, num_rows + more_rows)

        value = fall(self.errors)
        spread = jackknife([fall(errors) for errors in self.defined])
        return value, float(np.hypot(spread, EXTRAPOLATION_ERROR * value))


def at(sizes: Sequence[int], errors: Sequence[float], num_rows: float) -> float:
    """Log error at a size: that of the greatest size measured, moved along the fitted curve."""
    x = np.log(np.asarray(sizes, float))
    y = np.log(np.asarray(errors, float))
    if len(x) < 2:
        return float(y[-1])
    fits = [_fit(x, np.asarray(errors, float), share * float(min(errors))) for share in _ASYMPTOTES]
    losses = np.array([fit.loss for fit in fits])
    noise = max(float(losses.min()) / max(1, len(x) - 2), _LEAST_NOISE**2)
    weights = np.exp(-(losses - losses.min()) / (2 * noise))
    moves = np.array([fit.log_error(np.log(num_rows)) - fit.log_error(x[-1]) for fit in fits])
    return float(y[-1] + (weights / weights.sum()) @ moves)


@dataclass(frozen=True)
class _Fit:
    intercept: float
    exponent: float
    asymptote: float
    loss: float

    def log_error(self, log_rows: float) -> float:
        return float(np.log(self.asymptote + np.exp(self.intercept - self.exponent * log_rows)))


def _fit(x: np.ndarray, errors: np.ndarray, asymptote: float) -> _Fit:
    """Weighted least squares of log(error - c) on log n; larger sizes are measured better and matter more."""
    weights = np.exp(x - x[-1])
    y = np.log(errors - asymptote)
    mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
    spread = np.average(np.square(x - mean_x), weights=weights)
    slope = np.average((x - mean_x) * (y - mean_y), weights=weights) / spread if spread else 0.0
    exponent = float(np.clip(-slope, 0.0, _MAX_EXPONENT))
    intercept = float(mean_y + exponent * mean_x)
    fitted = np.log(asymptote + np.exp(intercept - exponent * x))
    loss = float(np.average(np.square(np.log(errors) - fitted), weights=weights)) * len(x)
    return _Fit(intercept, exponent, asymptote, loss)


def jackknife(values: Sequence[float]) -> float:
    """Standard error from leave-one-out values (Efron and Tibshirani 1993, equation 11.5); 0 for fewer than two."""
    if len(values) < 2:
        return 0.0
    array = np.asarray(values, float)
    return float(np.sqrt((len(array) - 1) / len(array) * np.square(array - array.mean()).sum()))
