"""Running statistics of a worker: a report per second, whose counts and histograms can be added up exactly.

A report is a dict of plain values with string keys, since it travels in a message. Each value is a sum over the rows of
one second, or an encoded HDR histogram. So the sum of all workers' reports equals the report of a single worker that
had seen everything.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from loadgen.measure import histograms
from loadgen.measure.counts import occurrences
from loadgen.measure.publishes import Events

Values = npt.NDArray[np.int64]
Report = dict[str, Any]

_MS = 1_000_000
_SECOND_NS = 1_000_000_000
#: Inclusive upper bounds of the latency buckets. They include those of the OpenTelemetry conventions for messaging
#: durations.
BOUNDS_NS: Final = tuple(
    int(ms * _MS)
    for ms in (0.5, 1, 2.5, 5, 7.5, 10, 15, 25, 50, 75, 100, 150, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000)
)  # fmt: skip
#: Values of a report's `measured` if all or none of the latencies belong to the measure phase. They are sent instead of
#: a second histogram.
ALL, NONE = "all", "none"
#: Statuses of events that the generator itself failed to send. `error` is not among them, since the target may refuse
#: connections.
_UNSENT: Final = ("unsent", "unmade")


class RunningStatistics:
    """Builds a worker's report for each second, for the live displays.

    ``expected`` returns how many deliveries an event published to a channel should cause, or None if unknown. The first
    and the last arrival are recorded for a sample: one in ``sample_every`` events. The sample depends only on the
    events' numbers, so all workers have the same sample.
    """

    def __init__(self, expected: Callable[[str], int | None], sample_every: int) -> None:
        self._expected = expected
        self.every = max(1, sample_every)
        self._measure_ns: int | None = None

    @property
    def measure_ns(self) -> int | None:
        """Start of the measure phase on the master's clock (ns), or None until it is known."""
        return self._measure_ns

    def measure_from(self, measure_ns: int) -> None:
        """Set the start of the measure phase on the master's clock (ns), for all reports that begin after this call."""
        self._measure_ns = measure_ns

    def begin(self, clock_offset_ns: int) -> "IntervalStatistics":
        """Start the report of an interval; ``clock_offset_ns`` is the master's clock minus this process's."""
        return IntervalStatistics(self, clock_offset_ns)

    def published(self, events: Events, measure_ns: int) -> Report:
        """Return the report's values on publishes, from events whose outcome is known: answered, failed or given up."""
        columns, counts = events.runs
        status, intended_ns = columns["status"], columns["intended_ns"]
        measured = intended_ns >= measure_ns
        accepted = status == events.place("accepted")
        unsent = np.isin(status, [events.place(each) for each in _UNSENT])
        late_ns, times = events.own_lateness_ns(measure_ns)
        return {
            "statuses": {events.text(place): count for place, count in events.distinct("status")},
            "expected": self._due(events, accepted, measure_ns),
            "lateness": encode(np.repeat(late_ns, times)) if len(late_ns) else None,
            "due": int(counts[measured].sum()),
            "unsent": int(counts[measured & unsent].sum()),
            "accepted": int(counts[measured & accepted].sum()),
            "sampled_events": self._sampled(events),
        }

    def _due(
        self, events: Events, accepted: npt.NDArray[np.bool_], measure_ns: int
    ) -> list[list[int | None]]:
        """Return [second, expected deliveries] for each second in which accepted events were due."""
        columns, counts = events.runs
        second = (columns["intended_ns"][accepted] - measure_ns) // _SECOND_NS
        channel, counts = columns["channel"][accepted], counts[accepted]
        expected: dict[int, int | None] = {}
        if not len(second):
            return []
        pairs, which = np.unique(np.stack((second, channel)), axis=1, return_inverse=True)
        sums = np.bincount(which.reshape(-1), weights=counts).astype(np.int64)
        for (at, place), count in zip(pairs.T.tolist(), sums.tolist(), strict=True):
            each, so_far = self._expected(events.text(place) or ""), expected.get(at, 0)
            expected[at] = None if each is None or so_far is None else so_far + each * count
        return [list(pair) for pair in expected.items()]

    def _sampled(self, events: Events) -> list[list[int | None]]:
        """Return [publisher, sequence, expected deliveries] of each accepted event in the sample."""
        publisher, sequence, channel = events["publisher"], events["sequence"], events["channel"]
        chosen = (events["status"] == events.place("accepted")) & ((publisher + sequence) % self.every == 0)
        return [
            [number, at, self._expected(events.text(place) or "")]
            for number, at, place in zip(
                *(column[chosen].tolist() for column in (publisher, sequence, channel)), strict=True
            )
        ]


class IntervalStatistics:
    """Builds the report of one interval from rows that are added in pieces."""

    def __init__(self, of: RunningStatistics, clock_offset_ns: int) -> None:
        self._of = of
        self._measure_ns = of.measure_ns
        self._offset_ns = clock_offset_ns
        self._deliveries = self._negative = 0
        self._latency = Spread()
        self._arrived: Counter[int] = Counter()
        #: Latencies of deliveries whose events were due before the measure phase.
        self._outside = histograms.new_histogram()
        self._outside_count = 0
        self._followed: list[Values] = []

    def add(self, columns: Mapping[str, Values], latency_ns: Values) -> None:
        """Add deliveries, given by column, with their headline latencies on the master's clock."""
        if not len(latency_ns):
            return
        self._deliveries += len(latency_ns)
        self._negative += int(np.count_nonzero(latency_ns < 0))
        self._latency.add(latency_ns)
        if self._measure_ns is None:
            return
        intended_ns = columns["intended_ns"]
        self._arrived.update(dict(occurrences((intended_ns - self._measure_ns) // _SECOND_NS)))
        outside = intended_ns < self._measure_ns
        if outside.any():
            self._outside_count += int(np.count_nonzero(outside))
            histograms.record(self._outside, latency_ns[outside])
        chosen = (columns["publisher"] + columns["sequence"]) % self._of.every == 0
        if chosen.any():
            self._followed.append(
                np.stack(
                    [columns[name][chosen] for name in ("publisher", "sequence", "intended_ns", "arrival_ns")]
                )
            )

    def report(
        self,
        events: Events,
        answered_ns: Values,
        delivery: HdrHistogram,
        encoded: Mapping[str, str],
    ) -> Report:
        """Return the report of the interval.

        ``answered_ns`` holds the times from sending to the answer, one for each answered event; ``delivery`` is the
        interval's histogram of headline latencies, and ``encoded`` has all HDR histograms of the interval by tag.
        """
        answers = Spread()
        answers.add(answered_ns)
        report: Report = {
            "deliveries": self._deliveries,
            "histograms": dict(encoded),
            "latency": self._latency.told(),
            "publish": answers.told(),
            "negative": self._negative,
            "measured": self._measured(delivery),
            "arrived": [list(pair) for pair in sorted(self._arrived.items())],
            "sampled": self._first_and_last(),
        }
        if self._measure_ns is not None:
            report.update(self._of.published(events, self._measure_ns))
        return report

    def _measured(self, delivery: HdrHistogram) -> str:
        """Return the encoded histogram of the latencies of the measure phase.

        Return `ALL` if all latencies of the interval belong to that phase, and `NONE` if none does.
        """
        if self._measure_ns is None or self._outside_count == self._deliveries:
            return NONE
        if not self._outside_count:
            return ALL
        return histograms.encoded(histograms.difference(delivery, self._outside))

    def _first_and_last(self) -> list[list[int]]:
        """Return [publisher, sequence, intended, first arrival, last arrival, number of arrivals] per sampled event."""
        if not self._followed:
            return []
        publisher, sequence, intended_ns, arrival_ns = np.concatenate(self._followed, axis=1)
        order = np.lexsort((sequence, publisher))
        publisher, sequence, arrival_ns = (
            publisher[order],
            sequence[order],
            arrival_ns[order] + self._offset_ns,
        )
        begins = np.flatnonzero(np.r_[True, (np.diff(publisher) != 0) | (np.diff(sequence) != 0)])
        counts = np.diff(np.r_[begins, len(order)])
        table = np.column_stack(
            (
                publisher[begins],
                sequence[begins],
                intended_ns[order][begins],
                np.minimum.reduceat(arrival_ns, begins),
                np.maximum.reduceat(arrival_ns, begins),
                counts,
            )
        )
        rows: list[list[int]] = table.tolist()
        return rows


class Spread:
    """Counts values in the buckets of `BOUNDS_NS` and in one above them; keeps their sum, minimum and maximum."""

    _bounds = np.array(BOUNDS_NS, dtype=np.int64)

    def __init__(self) -> None:
        self._counts = np.zeros(len(BOUNDS_NS) + 1, dtype=np.int64)
        self._sum_ns = 0.0
        self._range_ns: tuple[int, int] | None = None

    def add(self, values_ns: Values) -> None:
        """Add values."""
        if not len(values_ns):
            return
        places = np.searchsorted(self._bounds, values_ns, side="left")
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._sum_ns += float(values_ns.sum(dtype=np.float64))
        least, greatest = int(values_ns.min()), int(values_ns.max())
        if self._range_ns is not None:
            least, greatest = min(least, self._range_ns[0]), max(greatest, self._range_ns[1])
        self._range_ns = least, greatest

    def told(self) -> dict[str, Any] | None:
        """Return the counts, sum, minimum and maximum as plain values, or None if no value was added."""
        if self._range_ns is None:
            return None
        least, greatest = self._range_ns
        return {
            "counts": self._counts.tolist(),
            "sum_ns": self._sum_ns,
            "min_ns": least,
            "max_ns": greatest,
        }


def encode(values_ns: Values) -> str:
    """Return the encoded HDR histogram of values."""
    histogram = histograms.new_histogram()
    histograms.record(histogram, values_ns)
    return histograms.encoded(histogram)
