"""What a worker tells of a second while the run goes on, beside the record: counts and histograms that add up exactly.

A report is a dict of plain values with text for keys, since it travels in a message. Everything in it is a sum over the
second's rows (or an encoded HDR histogram), so that the reports of all workers add up to what one worker would have
seen.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from hdrh.histogram import HdrHistogram

from loadgen.measure import histograms
from loadgen.measure.counts import occurrences
from loadgen.measure.rows import EventRow

Values = npt.NDArray[np.int64]
Report = dict[str, Any]

_MS = 1_000_000
_SECOND_NS = 1_000_000_000
#: Upper bounds (inclusive) of the buckets that latencies are counted in. Those of the OpenTelemetry conventions for
#: messaging durations are among them.
BOUNDS_NS: Final = tuple(
    int(ms * _MS)
    for ms in (0.5, 1, 2.5, 5, 7.5, 10, 15, 25, 50, 75, 100, 150, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000)
)  # fmt: skip
#: What a report's `measured` says where the second's histogram need not be sent twice.
ALL, NONE = "all", "none"
#: What was never sent by the generator's own doing; `error` may be that of a target which takes no connection.
_UNSENT: Final = ("unsent", "unmade")


class LiveReports:
    """Makes a worker's report of each second.

    ``expected`` returns how many deliveries an event published to a channel should bring; None: not known.
    ``sample_every``: of so many events one is followed to its first and last subscriber. Which ones follows from their
    numbers, so that all workers choose the same.
    """

    def __init__(self, expected: Callable[[str], int | None], sample_every: int) -> None:
        self._expected = expected
        self.every = max(1, sample_every)
        #: When the measure phase begins, on the master's clock; None: not known yet.
        self.measure_ns: int | None = None

    def begin(self, clock_offset_ns: int) -> "LiveInterval":
        """Begin the report of an interval; ``clock_offset_ns`` is the master's clock minus this process's."""
        return LiveInterval(self, clock_offset_ns)

    def published(self, events: Sequence[EventRow], measure_ns: int) -> Report:
        """Return what a report says of events: those that were answered, or never will be."""
        statuses: Counter[str] = Counter()
        accepted: Counter[tuple[int, str]] = Counter()
        own: list[int] = []
        unsent = due = taken = 0
        sampled: list[list[int | None]] = []
        for event in events:
            statuses[event.status] += 1
            measured = event.intended_ns >= measure_ns
            due += measured
            unsent += measured and event.status in _UNSENT
            taken += measured and event.status == "accepted"
            if measured and (late_ns := event.own_lateness_ns) is not None:
                own.append(late_ns)
            if event.status == "accepted":
                accepted[(event.intended_ns - measure_ns) // _SECOND_NS, event.channel] += 1
                if (event.publisher + event.sequence) % self.every == 0:
                    sampled.append([event.publisher, event.sequence, self._expected(event.channel)])
        expected: dict[int, int | None] = {}
        for (second, channel), count in accepted.items():
            each, so_far = self._expected(channel), expected.get(second, 0)
            expected[second] = None if each is None or so_far is None else so_far + each * count
        return {
            "statuses": dict(statuses),
            "expected": [list(pair) for pair in expected.items()],
            "lateness": encode(np.array(own, dtype=np.int64)) if own else None,
            "due": due,
            "unsent": unsent,
            "accepted": taken,
            "sampled_events": sampled,
        }


class LiveInterval:
    """Makes the report of one interval from its rows, which come in pieces."""

    def __init__(self, of: LiveReports, clock_offset_ns: int) -> None:
        self._of = of
        self._measure_ns = of.measure_ns
        self._offset_ns = clock_offset_ns
        self._deliveries = self._negative = 0
        self._latency = Spread()
        self._arrived: Counter[int] = Counter()
        #: Of what does not belong to the measure phase.
        self._outside = histograms.new_histogram()
        self._outside_count = 0
        self._followed: list[Values] = []

    def add(self, columns: Mapping[str, Values], latency_ns: Values) -> None:
        """Take a piece: deliveries by column, and their headline latencies on the master's clock."""
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
        events: Sequence[EventRow],
        answered_ns: Values,
        delivery: HdrHistogram,
        encoded: Mapping[str, str],
    ) -> Report:
        """Return the report.

        ``answered_ns`` is how long answers to publishes took, ``delivery`` the interval's histogram of headline
        latencies, ``encoded`` all its HDR histograms by tag.
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
        """Return the histogram of what belongs to the measure phase; most intervals do, wholly or not at all."""
        if self._measure_ns is None or self._outside_count == self._deliveries:
            return NONE
        if not self._outside_count:
            return ALL
        return histograms.encoded(histograms.difference(delivery, self._outside))

    def _first_and_last(self) -> list[list[int]]:
        """Return [publisher, sequence, intended, first arrival, last arrival, arrivals] of the sampled events."""
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
    """How many values lie in each bucket of BOUNDS_NS, the last beyond all, and their sum, least and greatest."""

    _bounds = np.array(BOUNDS_NS, dtype=np.int64)

    def __init__(self) -> None:
        self._counts = np.zeros(len(BOUNDS_NS) + 1, dtype=np.int64)
        self._sum_ns = 0.0
        self._range_ns: tuple[int, int] | None = None

    def add(self, values_ns: Values) -> None:
        """Take values."""
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
        """Return it as plain values; None: there were none."""
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
