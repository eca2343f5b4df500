"""Test the decision of gates: on computed figures, on incomplete records, and by window."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import analysis
from analysis.figures import recovery
from analysis.figures.bounds import Between, Bounded
from analysis.gates.grammar import parse
from analysis.loading.run import Window
from analysis.verdict import evaluate
from analysis.verdict.evaluate import FAILED, INCONCLUSIVE, PASSED, gates_of, worst
from analysis.verdict.gate_figures import GateFigures
from tests.analysis.synthetic import (
    MS,
    SECOND,
    T0,
    ZERO,
    Row,
    connection,
    delivery,
    event,
    subscription,
    write_run,
)

WHOLE = Window(ZERO, ZERO + 4 * SECOND)


class Known:
    """Stands in for a run's figures: returns prepared values in turn and records the windows asked for."""

    def __init__(self, *values: tuple[float | None, float | None, float | None, str]) -> None:
        self._values = list(values)
        self.asked: list[Window] = []

    def value(self, gate: Any, window: Window) -> tuple[float | None, float | None, float | None, str]:
        self.asked.append(window)
        return self._values.pop(0)


def exactly(value: float, doubt: str = "") -> tuple[float, float, float, str]:
    return value, value, value, doubt


def decided(text: str, *values: Any) -> tuple[evaluate.Result, list[Window]]:
    figures = Known(*values)
    return evaluate._decide(parse(text), figures, WHOLE), figures.asked  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "status", "reason"),
    [
        (exactly(4 * MS), PASSED, ""),
        (exactly(5 * MS), FAILED, ""),
        (
            (4 * MS, 3 * MS, 5 * MS, ""),
            INCONCLUSIVE,
            "the threshold lies within the measurement's uncertainty",
        ),
        (
            (5 * MS, 4 * MS, 6 * MS, ""),
            INCONCLUSIVE,
            "the threshold lies within the measurement's uncertainty",
        ),
        # A doubt makes a gate inconclusive if it would pass, but not if it fails.
        (exactly(4 * MS, "too few"), INCONCLUSIVE, "too few"),
        (exactly(6 * MS, "too few"), FAILED, ""),
        ((4 * MS, 3 * MS, 6 * MS, "too few"), INCONCLUSIVE, "too few"),
    ],
)
def test_a_gate_passes_or_fails_as_a_whole_interval_does(value: Any, status: str, reason: str) -> None:
    result, asked = decided("delivery.latency.p99 < 5ms", value)
    assert (result.status, result.reason, result.value) == (status, reason, value[0])
    assert (result.low, result.high, result.margin) == (value[1], value[2], (5 * MS - value[0]) / (5 * MS))
    assert asked == [WHOLE]
    assert (result.window_s, result.windows, result.windows_failed) == (None, None, None)
    assert (result.gate, result.metric) == ("delivery.latency.p99 < 5ms", "delivery.latency.p99")
    assert (result.kind, result.op, result.threshold) == ("duration", "<", 5 * MS)


@pytest.mark.parametrize("value", [(None, 1.0, 1.0, "why"), (1.0, None, 1.0, "why"), (1.0, 1.0, None, "why")])
def test_what_is_not_known_decides_nothing_and_is_shown_as_unknown(value: Any) -> None:
    result, _ = decided("delivery.latency.p99 < 5ms", value)
    assert (result.status, result.reason) == (INCONCLUSIVE, "why")
    assert (result.value, result.low, result.high, result.margin) == (None, None, None, None)


def test_of_windows_the_gravest_decides_and_of_equals_the_one_with_the_smallest_margin() -> None:
    result, asked = decided("delivery.latency.p99 < 5ms over 1s", *(exactly(ms * MS) for ms in (6, 4, 9, 7)))
    assert [(window.start_ns - ZERO) / SECOND for window in asked] == [0, 1, 2, 3]
    assert [(window.end_ns - ZERO) / SECOND for window in asked] == [1, 2, 3, 4]
    assert (result.status, result.value, result.window_s) == (FAILED, 9 * MS, (2.0, 3.0))
    assert (result.windows, result.windows_failed) == (4, 3)
    result, _ = decided("delivery.latency.p99 < 5ms over 2s", exactly(2 * MS), exactly(4 * MS))
    assert (result.status, result.window_s, result.windows_failed) == (PASSED, (2.0, 4.0), 0)
    unknown = (None, None, None, "there are no samples")
    result, _ = decided("delivery.latency.p99 < 5ms over 2s", unknown, exactly(2 * MS))
    assert (result.status, result.window_s, result.windows_failed) == (INCONCLUSIVE, (0.0, 2.0), 0)
    result, _ = decided("delivery.latency.p99 < 5ms over 2s", unknown, exactly(6 * MS))
    assert (result.status, result.windows_failed) == (FAILED, 1)
    # Of two inconclusive windows, the one with a known margin is reported.
    doubtful = exactly(4 * MS, "too few")
    result, _ = decided("delivery.latency.p99 < 5ms over 2s", unknown, doubtful)
    assert (result.reason, result.window_s) == ("too few", (2.0, 4.0))


def test_what_is_left_at_the_end_belongs_to_the_last_window() -> None:
    _, asked = decided("delivery.latency.p99 < 5ms over 1500ms", exactly(1), exactly(1))
    assert asked == [
        Window(ZERO, ZERO + 1500 * MS),
        Window(ZERO + 1500 * MS, ZERO + 4 * SECOND),
    ]
    result, asked = decided("delivery.latency.p99 < 5ms over 5s")
    assert (result.status, result.reason) == (
        INCONCLUSIVE,
        "the measurement is shorter than the gate's window",
    )
    assert decided("delivery.latency.p99 < 5ms over 4s", exactly(1))[1] == [WHOLE]


@pytest.mark.parametrize(
    ("text", "value", "margin"),
    [
        ("delivery.rate > 100/s", 125.0, 0.25),
        ("delivery.rate >= 100/s", 75.0, -0.25),
        ("delivery.lost <= 8", 2.0, 0.75),
        ("delivery.lost < 8", 12.0, -0.5),
        ("delivery.lost == 8", 2.0, None),
        ("delivery.lost != 8", 2.0, None),
        ("delivery.lost <= 0", 2.0, None),
    ],
)
def test_a_margin_is_the_share_of_the_threshold(text: str, value: float, margin: float | None) -> None:
    assert decided(text, exactly(value))[0].margin == margin


def test_the_gravest_status_is_of_all() -> None:
    passed, failed, open_ = (
        decided("delivery.lost == 1", value)[0] for value in (exactly(1), exactly(2), exactly(1, "why"))
    )
    assert worst([]) == PASSED
    assert worst([passed, open_, passed]) == INCONCLUSIVE
    assert worst([open_, failed, passed]) == FAILED


def test_the_gates_of_a_manifest_are_written_short_or_long() -> None:
    written = [
        "delivery.lost == 0",
        {"check": "delivery.latency.p99 < 5ms", "over": "2s", "abort_early": True},
        {"check": "delivery.latency.p50 < 5ms"},
    ]
    short, long, bare = gates_of({"scenario": {"gates": written}})
    assert (short.text, short.over_ns, short.abort_early) == ("delivery.lost == 0", None, False)
    assert (long.over_ns, long.abort_early) == (2 * SECOND, True)
    assert (bare.over_ns, bare.abort_early) == (None, False)
    assert gates_of({"scenario": {}}) == []


def gated(folder: Path, gates: list[str], tables: dict[str, list[Row]], **manifest: Any) -> dict[str, Any]:
    """Return the decided gates of a run of 4 s by their text, whatever the verdict on the run."""
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": ZERO},
        {"name": "measure", "start_ns": ZERO, "end_ns": ZERO + 4 * SECOND},
    ]
    options = {"phases": phases, "late_after_ns": 60 * MS, **manifest}
    run = analysis.load(write_run(folder, tables, **options))
    summary = {**analysis.summarise(run), "verdict": {"kind": "valid", "findings": []}}
    results = evaluate.evaluate(run, summary, [parse(gate) for gate in gates])
    return {result.gate: result.to_dict() for result in results}


def test_each_number_is_what_the_tables_say(tmp_path: Path) -> None:
    # Of 40 events every tenth is refused. They are sent up to 3 ms late, in batches of two. One delivery is
    # lost, one is late, and one arrives twice.
    events = [
        event(
            7,
            n,
            "/a",
            n * 100 * MS,
            "rejected" if n % 10 == 8 else "accepted",
            batch=n // 2,
            sent_ns=ZERO + n * 100 * MS + n % 4 // 2 * 3 * MS,
            acked_ns=ZERO + n * 100 * MS + (5 + n // 20) * MS if n % 10 != 8 else None,
        )
        for n in range(40)
    ]
    accepted = [row for row in events if row["status"] == "accepted"]
    deliveries = [
        delivery(row, 1, 61 * MS if row["sequence"] == 30 else 2 * MS, uncertain_ns=0)
        for row in accepted
        if row["sequence"] != 5
    ]
    deliveries.append({**deliveries[3], "read_ns": deliveries[3]["read_ns"] + 9})
    swapped = [delivery(row, 2, 4 * MS, uncertain_ns=0) for row in accepted]
    swapped[0], swapped[1] = swapped[1], swapped[0]
    tables: dict[str, list[Row]] = {
        "events": events,
        "deliveries": [*deliveries, *swapped],
        "subscriptions": [
            subscription(
                1, "/a", -2 * MS, requested_ns=T0, acknowledged_ns=T0 + 7 * MS, probed_ns=T0 + 8 * MS
            ),
            subscription(2, "/a", -1 * MS, requested_ns=T0, acknowledged_ns=T0 + 9 * MS),
        ],
        "connections": [
            connection(1, started_ns=T0, acknowledged_ns=T0 + 20 * MS),
            connection(2, started_ns=T0, acknowledged_ns=T0 + 40 * MS),
            connection(3, started_ns=T0, acknowledged_ns=None, error="refused"),
            connection(4, started_ns=T0, acknowledged_ns=None, error="refused"),
        ],
    }
    expected = {
        "delivery.loss < 2%": 1 / 72,
        "delivery.lost <= 1": 1,
        "delivery.late == 1": 1,
        "delivery.duplicates == 1": 1,
        "delivery.reordered == 1": 1,
        "delivery.ratio > 97%": 70 / 72,
        "delivery.rate > 17/s": 70 / 4,
        "delivery.rate > 15/s over 1s": 17,
        "fanout.complete > 97%": 35 / 36,
        "publish.errors <= 10%": 0.1,
        "publish.rate >= 9/s": 9,
        "publish.offered >= 10/s": 10,
        "connect.errors <= 50%": 0.5,
        "delivery.latency.min > 1ms": 2 * MS,
        "delivery.latency.max < 62ms": 61 * MS,
        "fanout.last.max < 62ms": 61 * MS,
        "fanout.first.max <= 4ms": 4 * MS,
        "publish.latency.min > 1ms": 2 * MS,
        "publish.latency.max < 7ms": 6 * MS,
        "publish.lateness.min < 1ms": 0,
        "publish.lateness.max < 4ms": 3 * MS,
        "publish.lateness.mean < 4ms": 1.5 * MS,
        "connect.time.max <= 40ms": 40 * MS,
        "connect.time.mean <= 30ms": 30 * MS,
        "subscribe.time.min >= 7ms": 7 * MS,
        "ready.gap.max < 1s": SECOND - 10 * MS,
        "ready.gap.min < 1s": SECOND - 10 * MS,
    }
    found = gated(tmp_path, list(expected), tables)
    assert {text: gate["value"] for text, gate in found.items()} == pytest.approx(expected)
    assert {text: gate["status"] for text, gate in found.items()} == dict.fromkeys(expected, PASSED)
    assert found["delivery.rate > 15/s over 1s"]["window_s"] == (0.0, 1.0)


def test_what_a_record_has_nothing_of_is_not_known(tmp_path: Path) -> None:
    tables: dict[str, list[Row]] = {"events": [event(7, n, "/a", n * 100 * MS, "sent") for n in range(40)]}
    nothing, samples = "there is no data for it", "there are no samples"
    expected = {
        "checks.failed == 0": "no check was made",
        "checks.ratio > 99%": "no check was made",
        "recovery.missed == 0": nothing,
        "recovery.failed == 0": nothing,
        "recovery.peak < 10/s": nothing,
        "recovery.time.p99 < 1s": "nothing was dropped",
        "delivery.loss == 0": nothing,
        "delivery.ratio > 99%": nothing,
        "fanout.complete > 99%": nothing,
        # This service does not answer publishes.
        "publish.errors == 0": nothing,
        "publish.rate > 1/s": nothing,
        "connect.errors == 0": nothing,
        "delivery.latency.p99 < 1s": samples,
        "delivery.latency.max < 1s over 2s": samples,
        "ready.gap.mean < 1s": samples,
    }
    found = gated(tmp_path, list(expected), tables)
    assert {text: gate["reason"] for text, gate in found.items()} == expected
    assert {gate["status"] for gate in found.values()} == {INCONCLUSIVE}
    assert {gate["value"] for gate in found.values()} == {None}


def test_checks_of_the_users_own_are_counted_or_a_ratio(tmp_path: Path) -> None:
    run = analysis.load(write_run(tmp_path, {}))
    figures = GateFigures(run, WHOLE, {"checks": {"passed": 6, "failed": 2}})
    assert figures._of_checks("checks.failed") == 2.0
    assert figures._of_checks("checks.ratio") == 0.75


def test_recovery_is_what_the_summary_says(tmp_path: Path) -> None:
    run = analysis.load(write_run(tmp_path, {}))

    def of(name: str, **found: Any) -> float | None:
        again = {"attempts": 8, "failed": 2, "peak_per_s": 5}
        recovery = {"missed": {"events": 3}, "reconnects": again, **found}
        return GateFigures(run, WHOLE, {"recovery": recovery})._of_recovery(name)

    assert of("recovery.missed") == 3.0
    assert of("recovery.missed", missed=None) is None
    assert of("recovery.failed") == 0.25
    assert of("recovery.peak") == 5.0
    none = {"attempts": 0, "failed": 0, "peak_per_s": None}
    assert of("recovery.failed", reconnects=none) is None
    assert of("recovery.peak", reconnects=none) is None


def recovery_time(
    text: str, known: list[int], waited: list[int], monkeypatch: pytest.MonkeyPatch
) -> tuple[float | None, float | None, float | None, str]:
    times = np.array(known, dtype=np.int64), np.array(waited, dtype=np.int64)
    monkeypatch.setattr(recovery, "times_ns", lambda run: times)
    figures = GateFigures(None, WHOLE, {"delivery": None})  # type: ignore[arg-type]
    return figures.value(parse(text), WHOLE)


@pytest.mark.parametrize(
    ("statistic", "value", "least"),
    [("min", 1, None), ("p50", 3, None), ("max", 9, 6), ("p90", 9, 6), ("mean", 4.2, 4.2)],
)
def test_those_that_never_were_ready_again_took_longer_than_the_record(
    statistic: str, value: float, least: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"recovery.time.{statistic} < 1s"
    found = recovery_time(text, [1, 2, 3, 6, 9], [], monkeypatch)
    assert found[3] == ""
    assert found[:3] == pytest.approx((value,) * 3)
    found = recovery_time(text, [1, 2, 3, 9], [6], monkeypatch)
    if least is None:
        assert found == (value, value, value, "")
    else:
        doubt = "1 of 5 never were ready again: the figure is a lower bound"
        assert found[3] == doubt
        assert found[:3] == pytest.approx((least,) * 3)


def test_a_percentile_of_too_few_samples_decides_only_what_the_largest_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = analysis.load(write_run(tmp_path, {}))
    figures = GateFigures(run, WHOLE, {"delivery": None, "connections": {"kernel_timestamps": 1}})

    def of(text: str, *values: int) -> tuple[float | None, float | None, float | None, str]:
        bounded = Bounded.of(np.array(values, dtype=np.int64))
        monkeypatch.setattr(figures, "_values", lambda *_: bounded)
        return figures.value(parse(text), WHOLE)

    few = tuple(range(1, 100))
    # Of a hundred samples one lies beyond the 99th percentile; of ninety-nine none does.
    assert of("connect.time.p99 < 1ns", *few, 100) == (99, 99, 99, "")
    assert of("connect.time.p99 < 50ns", *few) == (99, 98, 99, "99 samples are too few for p99")
    assert of("connect.time.p99 <= 99ns", *few) == (99, 99, 99, "")
    assert of("connect.time.p99 < 5ns", 7) == (7, -math.inf, 7, "1 samples are too few for p99")
    assert of("connect.time.p100 < 50ns", *few) == (99, 99, 99, "")
    assert of("connect.time.mean < 50ns", 2, 4, 9) == (5, 5, 5, "")
    assert of("connect.time.min < 50ns", 2, 4, 9) == (2, 2, 2, "")
    assert of("connect.time.max < 50ns", 2, 4, 9) == (9, 9, 9, "")


def test_what_the_summary_knows_of_the_whole_run_is_taken_from_it(tmp_path: Path) -> None:
    run = analysis.load(write_run(tmp_path, {}))
    own = {"count": 1000, "p999": 7, "p99": 5, "max": 9, "low": {"p999": 6, "p99": 4, "max": 8}}
    own["high"] = {"p999": 8, "p99": 6, "max": 10}
    delivery_of: dict[str, Any] = {"headline_ns": own, "service_ns": {**own, "low": None}}
    delivery_of["receive_queue_ns"] = {**own, "p99": None, "high": None}
    figures = GateFigures(run, WHOLE, {"delivery": delivery_of})

    def of(name: str, window: Window = WHOLE) -> Between | None:
        return figures._of_summary(parse(f"{name} < 1s").metric, window)

    assert of("delivery.latency.p99") == Between(4, 5, 6)
    assert of("delivery.latency.p99.9") == Between(6, 7, 8)
    assert of("delivery.latency.max") == Between(8, 9, 10)
    own["count"] = 999
    assert of("delivery.latency.p99.9") is None
    assert of("delivery.latency.p99") == Between(4, 5, 6)
    assert of("delivery.latency.p99", Window(ZERO, ZERO + SECOND)) is None
    for name in ("delivery.service.p99", "delivery.queue.p99", "delivery.queue.max", "fanout.last.p99"):
        assert of(name) is None
    assert (
        GateFigures(run, WHOLE, {"delivery": None})._of_summary(
            parse("delivery.latency.p99 < 1s").metric, WHOLE
        )
        is None
    )


def widened(distribution: str, found: Between, exact: bool = False, **summary: Any) -> Between:
    class Run:
        uncertain_arrivals = True if exact else None

    whole = {
        "connections": {"kernel_timestamps": 0.5},
        "health": {"lag_worst_ns": 3},
        "publish": {"lateness_ns": {"error_ns": 2}},
        **summary,
    }
    return GateFigures(Run(), WHOLE, whole)._widened(distribution, found)  # type: ignore[arg-type]


def test_arrivals_without_kernel_stamps_may_be_earlier_by_the_loops_lag() -> None:
    found = Between(10.0, 11.0, 12.0)
    for name in ("delivery.latency", "delivery.service", "fanout.last", "fanout.first"):
        assert widened(name, found) == Between(7.0, 11.0, 12.0)
        assert widened(name, found, connections={"kernel_timestamps": 1}) == found
        assert widened(name, found, connections={"kernel_timestamps": None}) == found
        assert widened(name, found, exact=True) == found
        for health in (None, {"lag_worst_ns": None}, {"lag_worst_ns": 0}):
            assert widened(name, found, health=health) == found
        assert widened(name, Between(None, 11.0, None)) == Between(None, 11.0, None)
    for name in ("publish.latency", "connect.time", "delivery.queue"):
        assert widened(name, found) == found


def test_lateness_has_the_error_of_the_publishers_clocks() -> None:
    assert widened("publish.lateness", Between(10.0, 11.0, 12.0)) == Between(8.0, 11.0, 14.0)
    unknown = {"lateness_ns": {"error_ns": None}}
    assert widened("publish.lateness", Between(1.0, 1.0, 1.0), publish=unknown) == Between(None, 1.0, None)
    assert widened("publish.lateness", Between(None, 1.0, 1.0)) == Between(None, 1.0, None)
    assert widened("publish.lateness", Between(1.0, 1.0, None)) == Between(None, 1.0, None)


def test_late_deliveries_that_may_be_in_time_leave_ratio_and_rate_open(tmp_path: Path) -> None:
    events = [event(7, n, "/a", n * 100 * MS) for n in range(40)]
    deliveries = [
        delivery(row, 1, (61 if n < 3 else 2) * MS, uncertain_ns=2 * MS * (n < 2))
        for n, row in enumerate(events)
    ]
    tables: dict[str, list[Row]] = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(1, "/a", -MS)],
        "connections": [connection(1)],
    }
    gates = ["delivery.late <= 1", "delivery.ratio >= 95%", "delivery.rate >= 9.5/s", "delivery.loss == 0"]
    found = gated(tmp_path, gates, tables)
    late, ratio, rate, loss = (found[gate] for gate in gates)
    assert (late["low"], late["value"], late["high"], late["status"]) == (1, 3, 3, INCONCLUSIVE)
    assert (ratio["low"], ratio["value"], ratio["high"]) == (37 / 40, 37 / 40, 39 / 40)
    assert (rate["low"], rate["value"], rate["high"]) == (37 / 4, 37 / 4, 39 / 4)
    assert (ratio["status"], rate["status"], loss["status"]) == (INCONCLUSIVE, INCONCLUSIVE, PASSED)


@pytest.mark.parametrize("phase", ["measure", "ramp"])
def test_where_nothing_was_measured_no_gate_is_decided(phase: str, tmp_path: Path) -> None:
    phases = [{"name": phase, "start_ns": ZERO, "end_ns": ZERO + SECOND}]
    run = analysis.load(write_run(tmp_path, {}, phases=phases))
    (result,) = evaluate.evaluate(run, {"ledger": None}, [parse("delivery.lost == 0")])
    assert (result.status, result.reason) == (INCONCLUSIVE, "nothing was measured")
