"""Test figures of samples that are known only as intervals.

The bounds of a figure must contain the figure of all true values that the intervals allow.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import analysis
from analysis.figures import samples
from analysis.figures.bounds import Bounded, Collector
from analysis.figures.percentiles import Percentiles, nearest_rank, ranks_of_curve
from analysis.report.terminal import print_summary
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    Tables,
    connection,
    delivery,
    event,
    subscription,
    write_run,
)

pytestmark = pytest.mark.long

WIDE = st.integers(-(2**40), 2**40)
SAMPLE = st.tuples(
    WIDE, st.one_of(st.just(0), st.integers(0, 2**41)), st.one_of(st.just(0), st.integers(0, 2**41))
)
PIECES = st.lists(st.lists(SAMPLE, max_size=12), min_size=1, max_size=5).filter(any)
#: Values of `SORTED_MAX`, the largest number of samples that are sorted: 0 sorts none, and 10**6 sorts all.
SORTED = st.sampled_from((0, 10**6, 10**6))


@contextmanager
def sorting(most: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "SORTED_MAX", most)
        yield


def collected(pieces: list[list[tuple[int, int, int]]], ends: bool = True) -> Bounded:
    found = Collector()
    for piece in pieces:
        values, early, late = np.array(piece, dtype=np.int64).reshape(-1, 3).T
        # If all samples of a piece are exact, their bounds may be left out.
        found.add(values, early if early.any() else None, late if late.any() else None)
    return found.done()


@given(PIECES, st.floats(0, 100), SORTED)
def test_the_ends_are_percentiles_of_all_ends(
    pieces: list[list[tuple[int, int, int]]], percent: float, most: int
) -> None:
    values, early, late = np.array([one for piece in pieces for one in piece], dtype=np.int64).T
    with sorting(most):
        found = collected(pieces)
        low, high = np.sort(values - early), np.sort(values + late)
        at = found.percentile(percent)
        assert at == (
            nearest_rank(low, percent),
            nearest_rank(np.sort(values), percent),
            nearest_rank(high, percent),
        )
        figures = found.percentiles()
        for name, ordered in (("low", low), ("high", high)):
            whole = Percentiles.of_sorted(ordered).to_dict()
            for key, value in figures[name].items():
                assert value == (pytest.approx(whole[key]) if key == "mean" else whole[key])
        mean = found.mean()
        assert mean == pytest.approx((low.mean(), values.mean(), high.mean()))
        for end, ordered in ((found.low, low), (found.high, high)):
            curve = found.curve_of(end)
            if curve is not None:
                assert curve.tolist() == ordered[ranks_of_curve(len(values))[1] - 1].tolist()


@given(PIECES, st.floats(0, 100), st.randoms(use_true_random=False), SORTED)
def test_the_true_percentile_lies_between(
    pieces: list[list[tuple[int, int, int]]], percent: float, draws: Any, most: int
) -> None:
    truth = np.array(
        [draws.randint(v - early, v + late) for piece in pieces for v, early, late in piece], dtype=np.int64
    )
    with sorting(most):
        low, _, high = collected(pieces).percentile(percent)
    assert low is not None
    assert high is not None
    assert low <= nearest_rank(np.sort(truth), percent) <= high


def test_of_exact_samples_nothing_more_is_kept() -> None:
    found = Bounded.of(np.array([3, 1, 2]))
    assert (found.low, found.high) == (None, None)
    assert found.percentiles()["low"] == found.percentiles()["high"]
    assert [block.itemsize for block in found.samples.blocks()] == [1]


def test_where_the_clocks_are_not_known_no_end_is() -> None:
    found = Bounded.of(np.array([3, 1, 2]), known=False)
    assert found.percentile(50) == (None, 2, None)
    assert (found.percentiles()["low"], found.percentiles()["high"]) == (None, None)


# --- The following tests use whole runs. ---


def run_of(
    folder: Path, gates: list[str], uncertain: Any, *, slow: bool = False, **manifest: Any
) -> dict[str, Any]:
    """Summarise 400 events over four seconds: latency 1 ms, but 13 ms for the last 20 of each 100.

    ``uncertain(number)`` returns by how many ns the arrival of an event may be earlier than recorded.
    """
    events = [event(1, n, "/default/a", n * 10 * MS) for n in range(400)]
    late = [13 * MS if n % 100 >= 80 else MS for n in range(400)]
    tables: Tables = {
        "events": events,
        "subscriptions": [subscription(5, "/default/a", -1_000_000)],
        "connections": [connection(5, slow=slow)],
        "deliveries": [
            delivery(each, 5, took, **({} if uncertain is None else {"uncertain_ns": uncertain(n)}))
            for n, (each, took) in enumerate(zip(events, late, strict=True))
        ],
        "health": [
            {"time_ns": T0 + second * SECOND, "interval_ns": SECOND, "cpu_ns": SECOND // 4, "lag_max_ns": MS}
            for second in range(1, 6)
        ],
    }
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": T0 + SECOND},
        {"name": "measure", "start_ns": T0 + SECOND, "end_ns": T0 + 5 * SECOND},
    ]
    scenario = {"version": 1, "name": "made-up", "gates": gates}
    write_run(folder, tables, scenario=scenario, phases=phases, **{"format": 3, **manifest})
    return analysis.summarise(analysis.load(folder))


def decided(summary: dict[str, Any]) -> list[str]:
    return [result["status"] for result in summary["gates"]]


def test_a_gate_that_the_truth_may_pass_is_not_failed(tmp_path: Path) -> None:
    """Some deliveries share the kernel stamp of a later one, so a p99 recorded as 13 ms may truly be 10 ms."""
    gates = [
        "delivery.latency.p99 < 15ms",
        "delivery.latency.p99 < 12ms",
        "delivery.latency.p99 < 8ms",
        "delivery.service.p99 < 12ms",
        "fanout.last.p99 < 12ms",
        "delivery.latency.p99 < 12ms over 1s",
        "delivery.latency.max < 12ms over 2s",
        "delivery.latency.mean > 3ms",
        "delivery.latency.p50 < 2ms",
    ]
    summary = run_of(tmp_path / "run", gates, lambda n: 3 * MS if n % 100 >= 80 else 0)
    doubtful = "inconclusive"
    assert decided(summary) == [
        *("passed", doubtful, "failed", doubtful, doubtful, doubtful, doubtful, doubtful, "passed")
    ]
    first = summary["gates"][0]
    assert (first["low"], first["value"], first["high"]) == (10 * MS, 13 * MS, 13 * MS)
    assert "within the measurement's uncertainty" in summary["gates"][1]["reason"]
    headline = summary["delivery"]["headline_ns"]
    assert (headline["low"]["p99"], headline["p99"], headline["high"]["p99"]) == (10 * MS, 13 * MS, 13 * MS)
    assert headline["low"]["p50"] == headline["p50"] == MS
    assert headline["low"]["mean"] == pytest.approx(headline["mean"] - 0.2 * 3 * MS)
    assert summary["delivery"]["stamps_shared"] == 0.2
    assert summary["fanout"]["last_ns"]["low"]["p99"] == 10 * MS
    assert summary["verdict"]["kind"] == "degraded"
    (reason,) = [finding["reason"] for finding in summary["verdict"]["findings"]]
    assert reason == (
        "of 20.00 % of deliveries the arrival is known as an interval only: the headline p99 lies between 10.0 ms and"
        " 13.0 ms"
    )


def test_a_client_that_reads_slowly_on_purpose_is_not_called_a_slow_generator(tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", [], lambda n: 3 * MS if n % 100 >= 80 else 0, slow=True)
    (finding,) = summary["verdict"]["findings"]
    assert finding["subject"] == "arrival"
    assert finding["reason"] == (
        "of deliveries to clients that read slowly by `slow` the arrival is known as an interval only: the headline p99"
        " lies between 10.0 ms and 13.0 ms"
    )
    assert "slow clients" in finding["advice"]
    assert "workers" not in finding["advice"]


def test_nothing_arrives_before_it_was_sent(tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", ["delivery.latency.p50 > 2ms"], lambda n: SECOND)
    # Each event was sent 1 µs after it was due.
    headline, service = summary["delivery"]["headline_ns"], summary["delivery"]["service_ns"]
    assert {headline["low"][name] for name in ("min", "p50", "p99", "max")} == {1_000}
    assert {service["low"][name] for name in ("min", "p50", "p99", "max")} == {0}
    assert decided(summary) == ["failed"]


def test_a_run_of_exact_stamps_is_valid_and_has_no_intervals(tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", ["delivery.latency.p99 < 13.5ms"], lambda n: 0)
    headline = summary["delivery"]["headline_ns"]
    assert headline["low"] == headline["high"]
    assert headline["low"].items() <= headline.items()
    assert (summary["delivery"]["uncertain_arrivals"], summary["delivery"]["stamps_shared"]) == (False, 0)
    assert (summary["verdict"]["kind"], decided(summary)) == ("valid", ["passed"])
    run = analysis.load(tmp_path / "run")
    assert run.uncertain_arrivals is False


def test_an_older_record_does_not_say_and_is_judged_by_its_shared_stamps(tmp_path: Path) -> None:
    gates = ["delivery.latency.p99 < 13.5ms"]
    summary = run_of(tmp_path / "run", gates, None, format=2)
    assert summary["delivery"]["uncertain_arrivals"] is None
    assert summary["delivery"]["headline_ns"]["low"] is None
    assert summary["fanout"]["last_ns"]["low"] is None
    assert (summary["verdict"]["kind"], decided(summary)) == ("valid", ["passed"])
    rows = analysis.load(tmp_path / "run").table("deliveries", ("uncertain_ns",))
    assert rows.column("uncertain_ns").null_count == rows.num_rows == 400


def test_a_delivery_that_may_be_late_or_not_is_in_doubt(tmp_path: Path) -> None:
    gates = [
        *("delivery.late == 0", "delivery.late <= 80", "delivery.ratio > 90%", "delivery.ratio >= 80%"),
        *("delivery.rate > 90/s", "delivery.late == 0 over 1s"),
    ]
    summary = run_of(tmp_path / "run", gates, lambda n: 3 * MS if n % 2 else 0, late_after_ns=12 * MS)
    # By the recorded arrivals 80 deliveries are late. 40 of them may have arrived up to 3 ms earlier, and so in time.
    ledger = summary["ledger"]
    assert (ledger["late_least"], ledger["late"], ledger["late_most"]) == (40, 80, 80)
    assert ledger["balances"]
    late = summary["gates"][0]
    assert (late["low"], late["value"], late["high"]) == (40, 80, 80)
    assert decided(summary) == ["failed", "passed", "failed", "passed", "failed", "failed"]
    straddling = run_of(tmp_path / "other", ["delivery.late == 0"], lambda n: 3 * MS, late_after_ns=12 * MS)
    assert decided(straddling) == ["inconclusive"]
    assert (straddling["gates"][0]["low"], straddling["gates"][0]["high"]) == (0, 80)


@pytest.mark.parametrize("seed", range(6))
def test_any_true_arrivals_have_figures_within_the_summary(tmp_path: Path, seed: int) -> None:
    draws = np.random.default_rng(seed)
    uncertain = draws.integers(0, 4 * MS, 400) * draws.integers(0, 2, 400)
    measured = run_of(tmp_path / "run", [], lambda n: int(uncertain[n]))
    took_ns = np.array([13 * MS if n % 100 >= 80 else MS for n in range(400)])
    for _ in range(50):
        truth = np.sort(np.maximum(took_ns - draws.integers(0, uncertain + 1), 1_000))
        for where, name, sent_ns in (
            ("delivery", "headline_ns", 0),
            ("delivery", "service_ns", 1_000),
            ("fanout", "last_ns", 0),
        ):
            figures = measured[where][name]
            true = Percentiles.of_sorted(truth - sent_ns).to_dict()
            for key in ("min", "p50", "p90", "p99", "p999", "max", "mean"):
                # The mean is a float and its bounds are whole numbers, so allow a difference of 1.
                assert figures["low"][key] - 1 <= true[key] <= figures["high"][key] + 1


def test_the_terminal_and_the_page_show_between_what_a_figure_lies(tmp_path: Path) -> None:
    from analysis.report.page import render

    summary = run_of(
        tmp_path / "run", ["delivery.latency.p99 < 12ms"], lambda n: 3 * MS if n % 100 >= 80 else 0
    )

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    written = Terminal()
    print_summary(summary, Console(width=80, file=written, force_terminal=False))
    shown = written.getvalue()
    assert all(len(line) <= 80 for line in shown.splitlines())
    said = " ".join(shown.split())
    assert (
        "fan-out (arrival − intended) 1.00 ms 13.0 ms 13.0 ms 13.0 ms 13.0 ms at least 1.00 ms 10.0 ms"
        in said
    )
    assert "13.0 ms (10.0 ms … 13.0 ms)" in said
    # Exact figures are printed without bounds.
    assert "publish answer 999 µs 999 µs 999 µs 999 µs 999 µs waiting" in said
    page = render(analysis.load(tmp_path / "run"), summary)
    assert '<tr class="end"><td>at least</td><td>1.00 ms</td><td>10.0 ms</td>' in page
    exact = run_of(tmp_path / "exact", [], lambda n: 0)
    assert 'class="end"' not in render(analysis.load(tmp_path / "exact"), exact)
