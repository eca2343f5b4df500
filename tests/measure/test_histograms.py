import gc
import weakref

import numpy as np
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure import histograms


@given(st.lists(st.integers(0, histograms.HIGHEST_NS), min_size=1, max_size=200))
def test_filling_in_bulk_gives_the_same_histogram_as_one_by_one(values: list[int]) -> None:
    bulk, single = histograms.new_histogram(), histograms.new_histogram()
    assert histograms.record(bulk, np.array(values, dtype=np.int64)) == (0, 0)
    for value in values:
        single.record_value(value)
    assert bulk.get_total_count() == len(values)
    for percentile in (0, 10, 50, 90, 99, 99.9, 100):
        assert bulk.get_value_at_percentile(percentile) == single.get_value_at_percentile(percentile)


@given(
    st.lists(st.integers(0, histograms.HIGHEST_NS), max_size=200),
    st.lists(st.floats(0.001, 100), min_size=1, max_size=5),
)
def test_values_at_percentiles_are_those_of_the_library(values: list[int], percentiles: list[float]) -> None:
    histogram = histograms.new_histogram()
    histograms.record(histogram, np.array(values, dtype=np.int64))
    expected = [histogram.get_value_at_percentile(percentile) if values else 0 for percentile in percentiles]
    assert histograms.values_at(histogram, percentiles) == expected


@given(st.lists(st.lists(st.integers(0, 10**10), max_size=20), min_size=1, max_size=12), st.integers(1, 4))
def test_a_sliding_sum_is_that_of_the_last(parts: list[list[int]], most: int) -> None:
    made = [histograms.new_histogram() for _ in parts]
    sliding = histograms.Sliding(most)
    for histogram, values in zip(made, parts, strict=True):
        histograms.record(histogram, np.array(values, dtype=np.int64))
        sliding.add(histogram)
    merged = histograms.merge(made[-most:])
    assert sliding.sum.counts[:] == merged.counts[:]
    assert sliding.sum.total_count == merged.total_count
    assert sliding.sum.get_max_value() == merged.get_max_value()


def test_what_a_histogram_cannot_hold_is_counted_not_dropped_in_silence() -> None:
    histogram = histograms.new_histogram()
    values = np.array([-5, -1, 10_000, histograms.HIGHEST_NS + 1], dtype=np.int64)
    assert histograms.record(histogram, values) == (2, 1)
    assert histogram.get_total_count() == 1


def test_merging_is_exact() -> None:
    rng = np.random.default_rng(1)
    parts = [rng.integers(1_000, 10**9, 500) for _ in range(4)]
    merged = histograms.merge(_filled(part) for part in parts)
    whole = _filled(np.concatenate(parts))
    for percentile in (1, 50, 99, 99.9):
        assert merged.get_value_at_percentile(percentile) == whole.get_value_at_percentile(percentile)


def _filled(values: np.ndarray) -> HdrHistogram:
    histogram = histograms.new_histogram()
    histograms.record(histogram, values)
    return histogram


def test_a_histogram_goes_without_the_collector() -> None:
    gc.disable()
    try:
        made = histograms.new_histogram()
        histograms.record(made, np.array([1_000_000]))
        again = histograms.decoded(histograms.encoded(made))
        assert again.total_count == 1
        assert histograms.encoded(again) == histograms.encoded(made)
        references = [weakref.ref(made), weakref.ref(again)]
        del made, again
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()
