"""Test the fit of the Universal Scalability Law to simulated trials whose parameters are known."""

import numpy as np
import pytest

from analysis.figures import usl

LOADS = np.repeat([10.0, 25, 50, 100, 200, 400, 800], 2)


def simulated(
    seed: int, sigma: float = 0.01, kappa: float = 2e-5, rate: float = 40.0, noise: float = 0.02
) -> list[float]:
    draws = np.random.default_rng(seed)
    exact = rate * LOADS / (1 + sigma * (LOADS - 1) + kappa * LOADS * (LOADS - 1))
    return [float(value) for value in exact * np.exp(draws.normal(0, noise, len(LOADS)))]


def test_exact_data_give_the_parameters_and_the_peak() -> None:
    found = usl.fit(LOADS.tolist(), simulated(1, noise=1e-9))
    assert found.rate is not None
    assert found.contention is not None
    assert found.coherence is not None
    assert found.peak is not None
    assert found.rate.value == pytest.approx(40, rel=1e-6)
    assert found.contention.value == pytest.approx(0.01, rel=1e-5)
    assert found.coherence.value == pytest.approx(2e-5, rel=1e-5)
    assert found.peak.value == pytest.approx(np.sqrt(0.99 / 2e-5), rel=1e-6)
    assert found.peak_throughput == pytest.approx(found.throughput(np.array([found.peak.value]))[0])


def test_a_95_percent_interval_covers_the_truth_in_at_least_90_percent_of_200_data_sets() -> None:
    truth = {"rate": 40.0, "contention": 0.01, "coherence": 2e-5, "peak": np.sqrt(0.99 / 2e-5)}
    covered = dict.fromkeys(truth, 0)
    for seed in range(200):
        found = usl.fit(LOADS.tolist(), simulated(seed))
        for name, value in truth.items():
            interval = getattr(found, name)
            assert interval is not None, (seed, name, found.reason)
            covered[name] += interval.low <= value <= interval.high
    assert all(180 <= count < 200 for count in covered.values()), covered


def test_no_peak_beyond_the_evidence() -> None:
    found = usl.fit(LOADS.tolist(), simulated(1, sigma=0.01, kappa=1e-6, noise=1e-4))
    assert found.peak is None
    assert "not within the evidence (10 to 800)" in found.reason
    assert found.coherence is not None


@pytest.mark.parametrize(("sigma", "kappa", "name"), [(-0.001, 2e-5, "σ"), (0.02, -1e-6, "κ")])
def test_no_peak_where_an_interval_lies_below_zero(sigma: float, kappa: float, name: str) -> None:
    found = usl.fit(LOADS.tolist(), simulated(1, sigma, kappa, noise=1e-4))
    interval = found.contention if name == "σ" else found.coherence
    assert interval is not None
    assert interval.high < 0
    assert found.peak is None
    assert found.reason == f"no peak is claimed: the interval of {name} lies below zero"


@pytest.mark.parametrize(("sigma", "kappa", "name"), [(0.02, 0.0, "κ"), (0.0, 2e-5, "σ")])
def test_no_peak_where_an_interval_includes_zero(sigma: float, kappa: float, name: str) -> None:
    refused = [usl.fit(LOADS.tolist(), simulated(seed, sigma, kappa)) for seed in range(40)]
    reasons = [f"the interval of {name} " in found.reason for found in refused]
    for found in refused:
        interval = found.contention if name == "σ" else found.coherence
        assert interval is not None
        if f"{name} includes zero" in found.reason:
            assert interval.low <= 0 <= interval.high
    # A 95 % interval lies wholly above the true value in 2.5 % of fits.
    assert sum(reasons) >= 35


def test_no_fit_of_few_loads_or_of_another_law() -> None:
    few = usl.fit([1, 2, 3, 4], [1, 2, 3, 4])
    assert few.rate is None
    assert "4 distinct loads are too few" in few.reason
    with pytest.raises(ValueError, match="too few"):
        few.throughput(np.array([1.0]))
    draws = np.random.default_rng(1)
    other = usl.fit(LOADS.tolist(), (100 * np.exp(draws.normal(0, 0.6, len(LOADS)))).tolist())
    assert other.rate is None
    assert "does not describe" in other.reason


@pytest.mark.parametrize(
    ("loads", "throughput"), [([1, 2], [1]), ([0, 1], [1, 1]), ([1, 2], [1, float("nan")])]
)
def test_what_is_no_measurement_is_refused(loads: list[float], throughput: list[float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        usl.fit(loads, throughput)
