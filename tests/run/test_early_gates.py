"""Test gates that end a run early although some arrival times are uncertain.

Such a gate fails only if it fails for every possible arrival time.
"""

from pathlib import Path

import numpy as np

from analysis.gates.grammar import parse
from loadgen.measure import histograms
from loadgen.measure.arrival import arrival
from loadgen.measure.recorder import Recorder
from loadgen.measure.running import encode
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter
from loadgen.run.early_gates import EarlyGates

MS, SECOND = 1_000_000, 1_000_000_000


def failure(shortest_ns: int | None) -> str | None:
    """Return the failure of the gate p99 < 12 ms for 100 latencies measured as 13 ms, or None if the gate holds.

    Each latency may in truth be as short as ``shortest_ns``; None means that it is exact.
    """
    gates = EarlyGates([parse("delivery.latency.p99 < 12ms").with_options(2 * SECOND, True)])
    gates.begin(0)
    whole = histograms.decoded(encode(np.full(100, 13 * MS)))
    gates.observe(
        int(1.5 * SECOND), whole, None if shortest_ns is None else encode(np.full(100, shortest_ns))
    )
    return gates.failure(2 * SECOND)


def test_what_may_pass_does_not_end_the_run() -> None:
    assert failure(None) is not None
    assert failure(13 * MS) is not None
    assert failure(10 * MS) is None


def test_the_recorder_tells_the_shortest_latencies(tmp_path: Path) -> None:
    recorder = Recorder(7, SpoolWriter(tmp_path, 0), sinks=Sinks(shortest=True))
    for number in range(100):
        early_ns = 3 * MS if number < 50 else 0
        recorder.deliver(1, arrival(13 * MS, early_ns), 14 * MS, (7, 1, number, 0, 0))
    interval = recorder.flush()
    assert interval.delivery_histogram is not None
    assert interval.shortest_histogram is not None
    longest, shortest = (
        histograms.decoded(each) for each in (interval.delivery_histogram, interval.shortest_histogram)
    )
    assert shortest.total_count == longest.total_count == 100
    assert [round(each.get_value_at_percentile(50) / MS) for each in (longest, shortest)] == [13, 10]
    assert [round(each.get_value_at_percentile(99) / MS) for each in (longest, shortest)] == [13, 13]
    recorder.deliver(1, 13 * MS, 14 * MS, (7, 1, 200, 0, 0))
    assert recorder.flush().shortest_histogram is None


def test_the_recorder_keeps_no_histogram_that_nobody_asks_for(tmp_path: Path) -> None:
    recorder = Recorder(7, SpoolWriter(tmp_path, 0))
    recorder.deliver(1, arrival(13 * MS, 3 * MS), 14 * MS, (7, 1, 0, 0, 0))
    interval = recorder.flush()
    assert interval.delivery_histogram is not None
    assert interval.shortest_histogram is None
