"""Test the latencies in the progress line: exact sums of the last seconds over all workers."""

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure import histograms
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.master.progress import ProgressView
from loadgen.run.master.workers import Workers
from loadgen.run.worker_info import LOCAL, WorkerInfo
from loadgen.scenario import overrides_of
from tests.run.master.test_phases import RUN

SECOND, MS = 1_000_000_000, 1_000_000
T0 = 1_000 * SECOND


def view() -> ProgressView:
    run = resolve(load("comments", overrides_of(RUN)))
    workers = Workers(run, [WorkerInfo(LOCAL, 0, hostname="h", pid=1, boot_id=None, cpus=1)])
    return ProgressView(run.totals, workers, T0)


def of(*values_ns: int) -> HdrHistogram:
    histogram = histograms.new_histogram()
    histograms.record(histogram, np.array(values_ns, dtype=np.int64))
    return histogram


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1_000, 10 * SECOND)), min_size=1, max_size=40))
def test_the_p99_is_that_of_all_workers_latencies_of_the_last_seconds(seen: list[tuple[int, int]]) -> None:
    shown = view()
    for second, value_ns in sorted(seen):
        shown.observe(T0 + second * SECOND, of(value_ns))
    together = of(*(value_ns for _, value_ns in seen))
    assert shown.snapshot(T0 + 4 * SECOND).recent_p99_ns == together.get_value_at_percentile(99)


def test_what_is_older_than_some_seconds_is_not_shown() -> None:
    shown = view()
    shown.observe(T0, of(*[900 * MS] * 100))
    shown.observe(T0 + 6 * SECOND, of(MS))
    recent_ns = shown.snapshot(T0 + 6 * SECOND).recent_p99_ns
    assert recent_ns is not None
    assert recent_ns < 2 * MS
    assert shown.snapshot(T0 + 60 * SECOND).recent_p99_ns is None


def test_histograms_that_are_observed_are_not_changed() -> None:
    shown, given_one = view(), of(MS)
    for _ in range(3):
        shown.observe(T0, given_one)
    assert given_one.total_count == 1


@given(st.lists(st.lists(st.integers(0, 10**13), max_size=30), max_size=5))
def test_adding_gives_what_the_library_gives(parts: list[list[int]]) -> None:
    ours, theirs = histograms.new_histogram(), histograms.new_histogram()
    for part in parts:
        histograms.add(ours, of(*part))
        theirs.add(of(*part))
    assert histograms.encoded(ours) == histograms.encoded(theirs)
    values = [value for part in parts for value in part if value <= histograms.HIGHEST_NS]
    assert ours.total_count == len(values)
    # Do not compare with `theirs`: the library gives 0 as a sum's minimum, because it starts with an empty histogram.
    assert ours.get_max_value() == of(*values).get_max_value()
    assert ours.get_min_value() == of(*values).get_min_value()
