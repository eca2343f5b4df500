"""Test the calibration's checks on computed figures, so that the results do not depend on the machine."""

from typing import Any, cast

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.calibrate.checks import DELAY_BAR_NS, Line, delay, stall
from loadgen.calibrate.truth import Truth

MS = 1_000_000


def truth(count: int, made_ns: int, off_ns: int, off: int, actions: Any = None) -> Truth:
    """Return figures of a server that takes ``made_ns`` for each of ``count`` deliveries.

    The recorded arrivals of the last ``off`` deliveries are wrong by ``off_ns``.
    """
    rows = [
        {
            "publisher": 0,
            "sequence": number,
            "subscription": 0,
            "copy": 0,
            "intended_ns": number * MS,
            "sent_ns": number * MS,
            "decided_ns": number * MS,
            "due_ns": number * MS + made_ns,
            "written_ns": number * MS + made_ns,
            "arrival_ns": number * MS + made_ns + (off_ns if number >= count - off else 0),
            "read_ns": number * MS + made_ns + 5 * MS,
            "action": 0,
        }
        for number in range(count)
    ]
    frame = pd.DataFrame(rows)
    received = frame[
        ["publisher", "sequence", "subscription", "copy", "intended_ns", "sent_ns", "arrival_ns", "read_ns"]
    ]
    written = frame[
        ["publisher", "sequence", "subscription", "copy", "decided_ns", "due_ns", "written_ns", "action"]
    ]
    return Truth(cast(Any, None), received, written, cast(Any, None), cast(Any, None), actions)


def by_name(lines: list[Line]) -> dict[str, bool | None]:
    return {line.what: line.passed for line in lines}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("off", "median", "tail"), [(0, True, True), (2, True, False), (100, False, False)])
def test_a_percentile_beyond_the_bar_is_wrong(sign: int, off: int, median: bool, tail: bool) -> None:
    inside = by_name(list(delay(truth(100, 8 * MS, sign * DELAY_BAR_NS, off))))
    assert (inside["latency p50"], inside["latency p99"]) == (True, True)
    outside = by_name(list(delay(truth(100, 8 * MS, sign * (DELAY_BAR_NS + 1), off))))
    # Latencies that are too short are the lowest in the sorted order, so they do not change the p99.
    tail = tail if sign > 0 or off == 100 else True
    assert (outside["latency p50"], outside["latency p99"]) == (median, tail)


# There is no deadline, because the machine may be busy.
@settings(deadline=None, max_examples=40)
@given(made_ns=st.integers(0, 10**9), off_ns=st.integers(0, 10**9), off=st.integers(0, 50))
def test_the_lines_pass_by_the_bar_alone(made_ns: int, off_ns: int, off: int) -> None:
    found = by_name(list(delay(truth(50, made_ns, off_ns, off))))
    assert found["latency p99"] == (off == 0 or off_ns <= DELAY_BAR_NS)
    assert found["latency p50"] == (off <= 25 or off_ns <= DELAY_BAR_NS)
    # The table shows the delays that the server drew at random, but no check depends on them.
    assert found["delay drawn, p50 / p99"] is None


def test_a_delivery_before_the_end_of_a_stall_that_it_was_due_in_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from loadgen.calibrate import checks

    monkeypatch.setattr(checks, "balance", lambda _: Line("ledger", "", "", "", "", True))
    actions = pd.DataFrame([{"kind": "stall", "start_ns": 50 * MS, "end_ns": 60 * MS}])
    for made_ns, passed in ((10 * MS, True), (10 * MS - 1, False)):
        (line, _) = stall(truth(100, made_ns, 0, 0, actions))
        assert line.what.startswith("stall 1: 10 deliveries due in it")
        assert line.passed is passed
