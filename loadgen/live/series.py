"""The figures of a running test that add up over time: latencies, loss, and first and last subscribers."""

from collections import deque
from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram

from loadgen.measure import histograms
from loadgen.measure.running import ALL, NONE, Report

_SECOND_NS = 1_000_000_000
_RECENT: Final = 10
#: Delay (s) after the end of a second before its loss counts as settled; see `Loss`.
SETTLED_S: Final = 3
#: Time after which a sampled event that has not reached all its subscribers is dropped.
GIVEN_UP_NS: Final = 15 * _SECOND_NS
#: Maximum number of seconds or events kept; only forged reports exceed it.
_MOST = 200_000
#: Used in place of the last settled second when the run is over: far beyond the last second of any run.
_EVER = 1 << 62


def percentiles(histogram: HdrHistogram | None) -> dict[str, int] | None:
    """Return p50, p90, p99, max and the count, or None if the histogram is missing or empty."""
    if histogram is None or not histogram.total_count:
        return None
    p50, p90, p99 = histograms.values_at(histogram, (50, 90, 99))
    return {
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": int(histogram.get_max_value()),
        "count": int(histogram.total_count),
    }


class Latencies:
    """Headline latencies (due time to arrival) of the current second, the last ten seconds and the measure phase."""

    def __init__(self) -> None:
        #: Histogram of the deliveries whose intended time lies in the measure phase.
        self.measured = histograms.new_histogram()
        self._second: list[HdrHistogram] = []
        self._recent = histograms.Sliding(_RECENT)

    def take(self, report: Report) -> None:
        """Add a report's histograms."""
        encoded = report["histograms"].get("delivery")
        if encoded is None:
            return
        histogram = histograms.decoded(encoded)
        self._second.append(histogram)
        if report["measured"] == ALL:
            self.measured.add(histogram)
        elif report["measured"] != NONE:
            self.measured.add(histograms.decoded(report["measured"]))

    def close_second(self, complete: bool) -> HdrHistogram | None:
        """End the current second; return its histogram, or None if a worker's report is missing (not ``complete``)."""
        parts, self._second = self._second, []
        second = parts[0] if len(parts) == 1 else histograms.merge(parts)
        self._recent.add(second)
        return second if complete else None

    def recent(self) -> HdrHistogram:
        """Return the histogram of the last ten seconds."""
        return self._recent.sum


class Loss:
    """Counts of expected and of arrived deliveries, by the second in which their event was due.

    A second is settled `SETTLED_S` after it has ended; deliveries that arrive later still count in the sums over all
    settled seconds. Duplicates count as arrivals. An event counts as expected only once the service has accepted it. So
    more deliveries may have arrived than were expected; the loss is then unknown.
    """

    def __init__(self) -> None:
        self._arrived: dict[int, int] = {}
        self._expected: dict[int, int | None] = {}
        #: Number of deliveries that have arrived, of the events of the measure phase.
        self.arrived_measured = 0
        #: Number of deliveries that the accepted events of the measure phase should cause, or None if unknown.
        self.expected_measured: int | None = 0
        self._settled_until = 0
        self._settled_arrived = 0
        self._latest: float | None = None
        self._settled_expected: int | None = 0

    def take(self, report: Report) -> None:
        """Add a report's counts."""
        for second, count in report["arrived"]:
            if second >= 0:
                self.arrived_measured += count
                if second < self._settled_until:
                    self._settled_arrived += count
                elif second in self._arrived or len(self._arrived) < _MOST:
                    self._arrived[second] = self._arrived.get(second, 0) + count
        for second, count in report.get("expected", ()):
            if second >= 0:
                self.expected_measured = _plus(self.expected_measured, count)
                if second < self._settled_until:
                    self._settled_expected = _plus(self._settled_expected, count)
                elif second in self._expected or len(self._expected) < _MOST:
                    self._expected[second] = _plus(self._expected.get(second, 0), count)

    def settle(self, offset_ns: int | None) -> float | None:
        """Settle the seconds that are over, and return the share of their expected deliveries that did not arrive.

        ``offset_ns`` is the time up to which all workers have reported, counted from the start of the measure phase, or
        None if the run is over and all seconds are to be settled. Returns None if no delivery was expected in these
        seconds, or if the share is unknown. If no further second is over, returns the result of the last call.
        """
        until = _EVER if offset_ns is None else offset_ns // _SECOND_NS - SETTLED_S
        if until <= self._settled_until:
            # Data points are sometimes slightly less than a second apart: if no second has ended, keep the result.
            return self._latest
        arrived, expected = 0, _plus(0, 0)
        for second in [known for known in self._arrived if known < until]:
            arrived += self._arrived.pop(second)
        for second in [known for known in self._expected if known < until]:
            expected = _plus(expected, self._expected.pop(second))
        self._settled_until = until
        self._settled_arrived += arrived
        self._settled_expected = _plus(self._settled_expected, expected)
        self._latest = _missing(arrived, expected)
        return self._latest

    def so_far(self) -> float | None:
        """Return the share of expected deliveries that did not arrive, over all settled seconds; None if unknown."""
        return _missing(self._settled_arrived, self._settled_expected)

    def surplus(self) -> int | None:
        """Return how many deliveries beyond the expected ones arrived in the settled seconds, or None if none did."""
        expected = self._settled_expected
        return (
            None
            if expected is None or self._settled_arrived <= expected
            else self._settled_arrived - expected
        )


def _missing(arrived: int, expected: int | None) -> float | None:
    # If more arrived than expected, some are duplicates or belong to unanswered publishes. Either may hide losses, so
    # the loss is unknown.
    return 1 - arrived / expected if expected and arrived <= expected else None


class _Event:
    """A sampled event that has not reached all its subscribers yet."""

    __slots__ = ("arrivals", "expected", "first_ns", "intended_ns", "known", "last_ns", "seen_ns")

    def __init__(self) -> None:
        self.intended_ns = self.first_ns = self.last_ns = self.seen_ns = 0
        self.arrivals = 0
        self.expected: int | None = None
        #: True if a report said that the service accepted the event.
        self.known = False


class Subscribers:
    """Latencies at the first and the last subscriber, of those sampled events that reached all their subscribers."""

    def __init__(self) -> None:
        self.first = histograms.new_histogram()
        self.last = histograms.new_histogram()
        #: Number of sampled events that reached all their subscribers, and of those that were dropped before
        #: they did.
        self.complete = self.incomplete = 0
        self._open: dict[tuple[int, int], _Event] = {}
        self._recent: deque[tuple[int, int, int]] = deque(maxlen=10_000)

    def take(self, report: Report) -> None:
        """Add a report's data on sampled events."""
        for publisher, sequence, intended_ns, first_ns, last_ns, count in report["sampled"]:
            event = self._event(publisher, sequence, report["end_ns"])
            if event is None:
                continue
            event.intended_ns = intended_ns
            event.first_ns = first_ns if not event.arrivals else min(event.first_ns, first_ns)
            event.last_ns = last_ns if not event.arrivals else max(event.last_ns, last_ns)
            event.arrivals += count
        for publisher, sequence, expected in report.get("sampled_events", ()):
            if (event := self._event(publisher, sequence, report["end_ns"])) is not None:
                event.known, event.expected = True, expected

    def settle(self, at_ns: int) -> None:
        """Add events that have reached all subscribers to the histograms; drop others after `GIVEN_UP_NS`."""
        for key, event in list(self._open.items()):
            if event.known and event.expected and event.arrivals >= event.expected:
                first_ns, last_ns = event.first_ns - event.intended_ns, event.last_ns - event.intended_ns
                _record(self.first, first_ns)
                _record(self.last, last_ns)
                self._recent.append((at_ns, first_ns, last_ns))
                self.complete += 1
            elif at_ns - event.seen_ns < GIVEN_UP_NS:
                continue
            elif event.known and event.expected:
                self.incomplete += 1
            del self._open[key]

    def recent_first(self, at_ns: int) -> HdrHistogram | None:
        """Return the histogram of latencies at the first subscriber in the last ten seconds, or None if empty."""
        return _histogram(
            first for then_ns, first, _ in self._recent if at_ns - then_ns < _RECENT * _SECOND_NS
        )

    def recent_last(self, at_ns: int) -> HdrHistogram | None:
        """Return the histogram of latencies at the last subscriber in the last ten seconds, or None if empty."""
        return _histogram(last for then_ns, _, last in self._recent if at_ns - then_ns < _RECENT * _SECOND_NS)

    def _event(self, publisher: int, sequence: int, seen_ns: int) -> _Event | None:
        event = self._open.get((publisher, sequence))
        if event is None:
            if len(self._open) >= _MOST:
                return None
            event = self._open[publisher, sequence] = _Event()
            event.seen_ns = seen_ns
        return event


def _histogram(values: Iterable[int]) -> HdrHistogram | None:
    histogram = histograms.new_histogram()
    for value in values:
        _record(histogram, value)
    return histogram if histogram.total_count else None


def _record(histogram: HdrHistogram, value_ns: int) -> None:
    if 0 <= value_ns <= histograms.HIGHEST_NS:
        histogram.record_value(value_ns)


def _plus(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right
