"""Fit the Universal Scalability Law to measured throughput, with confidence intervals.

    X(N) = λN / (1 + σ(N−1) + κN(N−1))

λ is the throughput at a load of one, σ the share of work that contends for a serial resource, κ the cost of keeping
parts coherent (N. J. Gunther, Guerrilla Capacity Planning, 2007). If κ > 0, throughput peaks at N = √((1−σ)/κ).

The fit is least squares of ln X, because errors of throughput are proportional to it. Intervals are from the fit's
covariance with Student's t of n−3 degrees of freedom; the interval of the peak is computed by the delta method on the
peak's logarithm. σ and κ may become negative: if an interval includes zero, the data do not show the effect, and if an
interval is below zero, the data contradict the law.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

LOADS_MIN: Final = 5
#: Largest standard deviation of ln X around the curve: if it is larger, the law does not describe the data.
SCATTER_MAX: Final = 0.1
METHOD: Final = (
    "least squares of ln X; 95 % intervals from the covariance with Student's t,"
    " the peak's by the delta method on its logarithm"
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Fit:
    """The scaling law fitted to measurements; `reason` says why a parameter or the peak is missing."""

    rate: Interval | None
    contention: Interval | None
    coherence: Interval | None
    #: Load at the peak of throughput, in the unit of the loads. `peak_throughput` is the throughput at this load.
    peak: Interval | None
    peak_throughput: float | None
    reason: str
    loads: int
    confidence: float

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and a description of the method of fitting."""
        return {**asdict(self), "method": METHOD}

    def throughput(self, load: Floats) -> Floats:
        """Return X(N); outside the measured loads it is extrapolated.

        Raises:
            ValueError: there is no fit.
        """
        if self.rate is None or self.contention is None or self.coherence is None:
            raise ValueError(self.reason)
        return _curve(load, self.rate.value, self.contention.value, self.coherence.value)


def fit(loads: Sequence[float], throughput: Sequence[float], confidence: float = 0.95) -> Fit:
    """Fit the scaling law to ``throughput`` (per second) measured at ``loads`` (above zero), one of each per trial.

    Raises:
        ValueError: the lengths differ, or a value is not positive and finite.
    """
    n, x = np.asarray(loads, dtype=float), np.asarray(throughput, dtype=float)
    if n.shape != x.shape or not (np.isfinite(n).all() and np.isfinite(x).all()):
        raise ValueError("loads and throughput must be as many, and finite")
    if (n <= 0).any() or (x <= 0).any():
        raise ValueError("loads and throughput must be above zero")
    distinct = len(np.unique(n))
    # Imported here: scipy's optimizers take longer to load than most commands take, and only a fit needs them.
    from scipy import optimize, special

    def refused(reason: str) -> Fit:
        return Fit(None, None, None, None, None, reason, distinct, confidence)

    if distinct < LOADS_MIN:
        return refused(f"{distinct} distinct loads are too few for a fit: {LOADS_MIN} are needed")
    # Scale by the largest load s; otherwise the parameters differ by six orders of magnitude. With a = σs and b = κs²
    # the denominator is 1 + a(N−1)/s + b·N(N−1)/s².
    scale = float(n.max())
    first, second = (n - 1) / scale, n * (n - 1) / scale**2

    def residuals(parameters: Floats) -> Floats:
        below = 1 + parameters[1] * first + parameters[2] * second
        # Where the denominator is zero or negative, the law has no meaning. A steep penalty keeps the fit away from
        # there.
        safe = np.maximum(below, 1e-9)
        return np.asarray(np.log(x) - parameters[0] - np.log(n) + np.log(safe) + np.minimum(below, 0) * -1e3)

    found = optimize.least_squares(
        residuals, [float(np.log(x / n).max()), 0.1, 0.1], method="lm", x_scale="jac"
    )
    freedom = len(n) - 3
    if not found.success or freedom < 1:
        return refused("the fit does not converge on these trials")
    scatter = math.sqrt(float((found.fun**2).sum()) / freedom)
    if scatter > SCATTER_MAX:
        return refused(
            f"the law does not describe these trials: they scatter by {scatter:.0%} around the curve"
        )
    try:
        covariance = np.linalg.inv(found.jac.T @ found.jac) * scatter**2
    except np.linalg.LinAlgError:
        return refused("the trials do not tell the parameters apart")
    # The quantile of Student's t. `scipy.stats.t.ppf` calls the same function, but scipy.stats takes half a second to
    # load.
    reach = float(special.stdtrit(freedom, (1 + confidence) / 2))
    errors = np.sqrt(np.maximum(np.diag(covariance), 0)) * reach
    log_rate, a, b = (float(value) for value in found.x)
    rate = Interval(math.exp(log_rate), math.exp(log_rate - errors[0]), math.exp(log_rate + errors[0]))
    sigma = Interval(a / scale, (a - errors[1]) / scale, (a + errors[1]) / scale)
    kappa = Interval(b / scale**2, (b - errors[2]) / scale**2, (b + errors[2]) / scale**2)
    peak, reason = _peak(a, b, scale, covariance, reach, sigma, kappa, (float(n.min()), float(n.max())))
    top = None
    if peak is not None:
        top = float(_curve(np.array([peak.value]), rate.value, sigma.value, kappa.value)[0])
    return Fit(rate, sigma, kappa, peak, top, reason, distinct, confidence)


def _peak(
    a: float,
    b: float,
    scale: float,
    covariance: Floats,
    reach: float,
    sigma: Interval,
    kappa: Interval,
    measured: tuple[float, float],
) -> tuple[Interval | None, str]:
    """Return (load at the peak, empty text), or (None, reason why no peak is claimed)."""
    for name, interval in (("κ", kappa), ("σ", sigma)):
        if interval.high < 0:
            return None, f"no peak is claimed: the interval of {name} lies below zero"
        if interval.low <= 0:
            return None, f"no peak is claimed: the interval of {name} includes zero"
    if sigma.value >= 1:
        return None, "no peak is claimed: throughput falls from the first load on"
    at = math.sqrt((1 - a / scale) / (b / scale**2))
    # With a and b as fitted and s = ``scale``, the peak N* has ln N* = (ln(1−a/s) − ln b)/2 + ln s. Its standard error
    # comes from the gradient of this logarithm (the delta method).
    slope = np.array([-0.5 / (scale - a), -0.5 / b])
    error = reach * math.sqrt(float(slope @ covariance[1:, 1:] @ slope))
    peak = Interval(at, at * math.exp(-error), at * math.exp(error))
    if not measured[0] < peak.value < measured[1]:
        return None, (
            f"no peak is claimed: it would be at {at:,.0f}, not within the evidence"
            f" ({measured[0]:,.0f} to {measured[1]:,.0f})"
        )
    return peak, ""


def _curve(load: Floats, rate: float, sigma: float, kappa: float) -> Floats:
    return np.asarray(rate * load / (1 + sigma * (load - 1) + kappa * load * (load - 1)))
