"""Test gates: their grammar, decisions that can be checked by hand, and their messages."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis.gates.grammar import OPERATORS, Gate, GateError, parse
from analysis.gates.metrics import DISTRIBUTIONS, NUMBERS, Kind, find, names
from analysis.report.outputs import junit, markdown
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


@pytest.mark.parametrize(
    ("text", "kind", "op", "threshold", "over_ns"),
    [
        ("delivery.latency.p99 < 150ms", Kind.DURATION, "<", 150 * MS, None),
        ("  fanout.last.p99.9<=1.5s over 5s ", Kind.DURATION, "<=", 1_500 * MS, 5 * SECOND),
        ("delivery.latency.max < 2m", Kind.DURATION, "<", 120 * SECOND, None),
        ("publish.latency.mean < 250us", Kind.DURATION, "<", 250_000, None),
        ("publish.latency.mean < 250µs", Kind.DURATION, "<", 250_000, None),
        # This is the Greek letter mu, which looks like the micro sign.
        ("publish.latency.mean < 250μs", Kind.DURATION, "<", 250_000, None),
        ("publish.latency.mean < 250ns", Kind.DURATION, "<", 250, None),
        ("delivery.loss == 0", Kind.SHARE, "==", 0, None),
        ("publish.errors < 0.1%", Kind.SHARE, "<", 0.001, None),
        ("delivery.ratio >= 99.99%", Kind.SHARE, ">=", 0.9999, None),
        ("delivery.lost <= 1_000", Kind.COUNT, "<=", 1000, None),
        ("delivery.rate > 5000/s over 500s", Kind.RATE, ">", 5000, 500 * SECOND),
    ],
)
def test_what_a_gate_says(text: str, kind: Kind, op: str, threshold: float, over_ns: int | None) -> None:
    gate = parse(text)
    assert (gate.metric.kind, gate.op, gate.over_ns) == (kind, op, over_ns)
    assert gate.threshold == pytest.approx(threshold, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a gate"),
        ("delivery.latency.p99", "compares with nothing: write delivery.latency.p99 < 150ms"),
        ("delivery.latncy.p99 < 1ms", "did you mean delivery.latency.p99?"),
        ("delivery.latency < 1ms", "delivery.latency is many values: say which, as delivery.latency.p99"),
        ("delivery.latency.p101 < 1ms", "has no 'p101'"),
        ("delivery.latency.median < 1ms", "has no 'median': take min, mean, max or a percentile"),
        ("delivery.los == 0", "did you mean delivery.los"),
        ("zzz < 1", "known are delivery.latency"),
        ("delivery.latency.p99 < 150", "write a duration such as 150ms"),
        ("delivery.latency.p99 < fast", "write a duration such as 150ms"),
        ("delivery.latency.p99 < -5ms", "write a duration such as 150ms"),
        ("delivery.loss < 0.1", "write a share such as 0.1%, or 0"),
        ("delivery.loss < 200%", "a share is at most 100%"),
        ("delivery.lost < 0.5", "write a whole number such as 0"),
        ("delivery.rate > 100", "write a rate such as 100/s"),
        ("delivery.latency.p99 == 1ms", "a measured value is never exactly that"),
        ("delivery.latency.p99 < 1ms over fast", "the window is compared with 'fast'"),
        ("delivery.latency.p99 < 1ms over 10ms", "has a window shorter than 1s"),
        ("connect.time.p99 < 1s over 5s", "is known for the whole run only"),
        ("delivery.latency.p99 < 1ms and more", "goes on with"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(GateError) as caught:
        parse(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        gate = parse(text)
    except GateError:
        return
    assert gate.threshold >= 0


@given(
    st.sampled_from(list(names())),
    st.sampled_from(sorted(OPERATORS)),
    st.integers(0, 10**6),
    st.sampled_from(["", "ms", "s", "%", "/s"]),
)
def test_what_is_read_compares_as_it_says(name: str, op: str, number: int, unit: str) -> None:
    try:
        gate = parse(f"{name} {op} {number}{unit}")
    except GateError:
        return
    factor = {"": 1, "ms": MS, "s": SECOND, "%": 0.01, "/s": 1}[unit]
    assert gate.threshold == pytest.approx(number * factor)
    assert gate.holds(gate.threshold + 1) == (op in (">", ">=", "!="))


def test_every_metric_has_a_meaning_and_is_found() -> None:
    for name in names():
        assert find(name).name == name
    assert all(DISTRIBUTIONS.values())
    assert all(meaning for _, meaning in NUMBERS.values())


def run_of(folder: Path, gates: list[Any], **manifest: Any) -> dict[str, Any]:
    """Summarise a run of 4 s with an event every 100 ms.

    One subscriber has latencies of 1 ms; the other has 2 ms, later 9 ms, and misses one event.
    """
    measure_ns = T0 + SECOND
    events, deliveries = [], []
    for number in range(40):
        offset_ns = number * 100 * MS
        events.append(event(7, number, "/a/b", offset_ns))
        slow_ns = 2 * MS if number < 20 else 9 * MS
        deliveries.append(delivery(events[-1], 1, 1 * MS))
        if number < 39:
            deliveries.append(delivery(events[-1], 2, slow_ns))
    tables: Tables = {
        "events": events,
        "deliveries": deliveries,
        "subscriptions": [subscription(number, "/a/*") for number in (1, 2)],
        "connections": [connection(number) for number in (1, 2)],
        "health": [
            {
                "time_ns": measure_ns + second * SECOND,
                "interval_ns": SECOND,
                "cpu_ns": 1,
                "lag_max_ns": 3 * MS,
            }
            for second in range(1, 5)
        ],
    }
    phases = [
        {"name": "ramp", "start_ns": T0, "end_ns": measure_ns},
        {"name": "measure", "start_ns": measure_ns, "end_ns": measure_ns + 4 * SECOND},
    ]
    scenario = {"version": 1, "name": "gated", "gates": gates}
    options = {"phases": phases, "scenario": scenario, "late_after_ns": 2 * SECOND, **manifest}
    return analysis.summarise(analysis.load(write_run(folder, tables, **options)))


def decided(summary: dict[str, Any]) -> list[str]:
    return [gate["status"] for gate in summary["gates"]]


@pytest.mark.parametrize(
    ("gate", "status", "value"),
    [
        ("delivery.latency.p50 <= 1ms", "passed", 1 * MS),
        ("delivery.latency.p99 < 9ms", "failed", 9 * MS),
        ("delivery.latency.p99 <= 9ms", "passed", 9 * MS),
        ("delivery.latency.p99 <= 8ms over 2s", "failed", 9 * MS),
        ("delivery.latency.p75 <= 2ms", "passed", 2 * MS),
        ("delivery.latency.mean < 3.3ms", "passed", (40 * 1 + 20 * 2 + 19 * 9) / 79 * MS),
        ("delivery.latency.max < 9.1ms", "passed", 9 * MS),
        ("fanout.first.max <= 1ms", "passed", 1 * MS),
        ("fanout.last.p50 <= 2ms", "passed", 2 * MS),
        ("delivery.lost == 1", "passed", 1),
        ("delivery.loss == 0", "failed", 1 / 80),
        ("delivery.loss < 2%", "passed", 1 / 80),
        ("delivery.ratio > 99%", "failed", 79 / 80),
        ("delivery.rate > 19/s", "passed", 79 / 4),
        ("fanout.complete == 100%", "failed", 39 / 40),
        ("fanout.complete == 100% over 2s", "failed", 19 / 20),
        ("publish.errors == 0", "passed", 0),
        ("publish.rate >= 10/s over 1s", "passed", 10),
        ("publish.offered >= 10.5/s", "failed", 10),
        ("publish.latency.p99 <= 1ms", "passed", 1 * MS),
        ("delivery.duplicates == 0", "passed", 0),
        ("connect.errors == 0", "passed", 0),
    ],
)
def test_a_gate_is_decided_on_the_figure(gate: str, status: str, value: float, tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", [gate])
    (result,) = summary["gates"]
    assert result["value"] == pytest.approx(value, rel=1e-3)
    assert result["status"] == status
    assert summary["exit_code"] == (1 if status == "failed" else 0)


def test_a_window_that_fails_is_named(tmp_path: Path) -> None:
    (result,) = run_of(tmp_path / "run", [{"check": "delivery.latency.p99 < 5ms", "over": "1s"}])["gates"]
    assert (result["windows"], result["windows_failed"], result["window_s"]) == (4, 2, (2.0, 3.0))
    assert result["margin"] == pytest.approx(-0.8)


def test_too_few_samples_are_inconclusive_unless_they_settle_it(tmp_path: Path) -> None:
    gates = ["delivery.latency.p99.9 < 9ms", "delivery.latency.p99.9 < 8ms", "delivery.latency.p99.9 < 10ms"]
    gates += ["fanout.last.p99 < 9ms"]
    summary = run_of(tmp_path / "run", gates)
    # The two largest of the 79 samples are 9 ms.
    assert decided(summary) == ["failed", "failed", "passed", "failed"]
    one_slow = run_of(tmp_path / "other", ["delivery.lost < 5", "ready.gap.p50 < 1s"])
    assert decided(one_slow) == ["passed", "inconclusive"]
    assert one_slow["gates"][1]["reason"] == "there are no samples"
    assert one_slow["exit_code"] == 3


def test_a_gate_inside_the_clocks_error_is_inconclusive(tmp_path: Path) -> None:
    """The worker is on another machine, and 200 pings determine its clock only to ±1 ms."""
    workers = [{"worker": 0, "id": "w", "hostname": "h", "pid": 1, "boot_id": "other", "finished": True}]
    gates = ["delivery.latency.p99 < 9.5ms", "delivery.latency.p99 < 15ms", "delivery.latency.p99 < 5ms"]
    folder = tmp_path / "run"
    run_of(folder, gates, workers=workers)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["host"]["boot_id"] = "mine"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tests.analysis.synthetic import TYPES

    begin_ns = [T0 + number * 30 * MS for number in range(200)]
    clock = {
        "worker": [0] * 200,
        "sent_ns": begin_ns,
        "master_received_ns": [ns + MS for ns in begin_ns],
        "master_sent_ns": [ns + MS for ns in begin_ns],
        "received_ns": [ns + 2 * MS for ns in begin_ns],
    }
    columns = {name: pa.array(values, type=TYPES["clock"][name]) for name, values in clock.items()}
    pq.write_table(pa.table(columns), folder / "clock.parquet")
    summary = analysis.summarise(analysis.load(folder))
    assert summary["clock"]["workers"][0]["error_ns"] == pytest.approx(1 * MS, rel=0.05)
    assert decided(summary) == ["inconclusive", "passed", "failed"]
    assert "within the measurement's uncertainty" in summary["gates"][0]["reason"]
    low, high = summary["gates"][0]["low"], summary["gates"][0]["high"]
    assert (low, high) == (pytest.approx(8 * MS, rel=0.02), pytest.approx(10 * MS, rel=0.02))


def test_an_invalid_run_decides_no_gate(tmp_path: Path) -> None:
    workers = [{"worker": 0, "id": "local", "hostname": "h", "pid": 1, "finished": False}]
    summary = run_of(tmp_path / "run", ["delivery.latency.p99 < 60m"], workers=workers)
    assert summary["verdict"]["kind"] == "invalid"
    assert decided(summary) == ["inconclusive"]
    assert summary["exit_code"] == 3


def test_a_run_without_gates_has_none(tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", [])
    assert summary["gates"] == []
    assert summary["exit_code"] == 0


HOSTILE = "<script>&\"']]>|`*_[x](y)\x1b[31m\x00\n- # ©"


def test_junit_and_markdown_hold_nothing_but_text(tmp_path: Path) -> None:
    summary = run_of(tmp_path / "run", ["delivery.loss == 0", "delivery.lost < 5", "ready.gap.p50 < 1s"])
    summary["scenario"] = HOSTILE
    summary["gates"][0]["gate"] = HOSTILE
    summary["gates"][0]["reason"] = HOSTILE
    summary["verdict"]["findings"] = [
        {"severity": "degraded", "subject": "x", "reason": HOSTILE, "advice": HOSTILE}
    ]
    suites = ElementTree.fromstring(junit(summary).encode())
    suite = suites[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "1", "1")
    assert "<script>" in suite[1].get("name", "")
    assert suite[1].find("failure") is not None
    assert suite[3].find("error") is not None
    properties = {entry.get("name"): entry.get("value") for entry in suite[2].iter("property")}
    assert float(properties["value"] or "nan") == 1.0
    shown = markdown(summary)
    assert "\x1b" not in shown + junit(summary)
    assert "\x00" not in shown + junit(summary)
    assert "<script>" not in shown
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert len(rows) == 4
    assert all(line.replace("\\|", "").count("|") == 6 for line in rows)


def test_options_of_the_long_form_must_fit() -> None:
    gate = parse("delivery.latency.p99 < 1ms")
    assert isinstance(gate.with_options(5 * SECOND, True), Gate)
    with pytest.raises(GateError, match="says 'over' twice"):
        parse("delivery.latency.p99 < 1ms over 2s").with_options(SECOND, False)
    with pytest.raises(GateError, match="goes with delivery"):
        parse("delivery.loss == 0").with_options(SECOND, True)
