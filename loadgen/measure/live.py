"""What a worker tells of a second while the run goes on, beside the record: counts and histograms that add up exactly.

A report is a dict of plain values with text for keys, since it travels in a message. Everything in it is a sum over the
second's rows (or an encoded HDR histogram), so that the reports of all workers add up to what one worker would have
seen.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from loadgen.measure import histograms

if TYPE_CHECKING:
    from loadgen.measure.recorder import EventRow

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
#: Seconds of intended times that rows of one report may be apart before counting takes the longer way: what arrives
#: may say anything.
_SPAN_S = 3_600


class LiveReports:
    """Makes a worker's report of each second.

    ``expected`` returns how many deliveries an event published to a channel should bring; None: not known.
    ``sample_every``: of so many events one is followed to its first and last subscriber. Which ones follows from their
    numbers, so that all workers choose the same.
    """

    def __init__(self, expected: Callable[[str], int | None], sample_every: int) -> None:
        self._expected = expected
        self._every = max(1, sample_every)
        self._bounds = np.array(BOUNDS_NS, dtype=np.int64)
        #: When the measure phase begins, on the master's clock; None: not known yet.
        self.measure_ns: int | None = None

    def report(
        self,
        columns: Mapping[str, Values],
        latency_ns: Values,
        events: Sequence["EventRow"],
        encoded: Mapping[str, str],
        clock_offset_ns: int,
    ) -> Report:
        """Return the report of a second.

        ``columns`` are the deliveries' publisher, sequence, intended_ns and arrival_ns; ``latency_ns`` their headline
        latency on the master's clock; ``encoded`` the second's HDR histograms by tag.
        """
        report: Report = {
            "deliveries": len(latency_ns),
            "histograms": dict(encoded),
            "latency": None,
            "publish": None,
            "negative": int(np.count_nonzero(latency_ns < 0)),
            "measured": NONE,
            "arrived": [],
            "sampled": [],
        }
        if len(latency_ns):
            report["latency"] = self._counted(latency_ns)
        answers_ns = [
            e.acked_ns - e.sent_ns for e in events if e.acked_ns is not None and e.sent_ns is not None
        ]
        if answers_ns:
            report["publish"] = self._counted(np.array(answers_ns, dtype=np.int64))
        if self.measure_ns is not None:
            if len(latency_ns):
                intended_ns = columns["intended_ns"]
                report["arrived"] = _count_by_second(intended_ns, self.measure_ns)
                report["measured"] = self._measured(intended_ns, latency_ns, self.measure_ns)
                report["sampled"] = self._first_and_last(columns, clock_offset_ns)
            report.update(self._published(events, self.measure_ns))
        return report

    def _counted(self, values_ns: Values) -> dict[str, Any]:
        """Return how many values lie in each bucket, the last beyond all bounds, and their sum, least and most."""
        places = np.searchsorted(self._bounds, values_ns, side="left")
        return {
            "counts": np.bincount(places, minlength=len(self._bounds) + 1).tolist(),
            "sum_ns": float(values_ns.sum(dtype=np.float64)),
            "min_ns": int(values_ns.min()),
            "max_ns": int(values_ns.max()),
        }

    def _measured(self, intended_ns: Values, latency_ns: Values, measure_ns: int) -> str:
        """Return the histogram of what belongs to the measure phase; most seconds do, wholly or not at all."""
        inside = intended_ns >= measure_ns
        count = int(np.count_nonzero(inside))
        if count in (0, len(inside)):
            return ALL if count else NONE
        return encode(latency_ns[inside])

    def _first_and_last(self, columns: Mapping[str, Values], clock_offset_ns: int) -> list[list[int]]:
        """Return [publisher, sequence, intended, first arrival, last arrival, arrivals] of the sampled events."""
        publisher, sequence = columns["publisher"], columns["sequence"]
        chosen = (publisher + sequence) % self._every == 0
        if not chosen.any():
            return []
        publisher, sequence = publisher[chosen], sequence[chosen]
        intended_ns = columns["intended_ns"][chosen]
        arrival_ns = columns["arrival_ns"][chosen] + clock_offset_ns
        order = np.lexsort((sequence, publisher))
        publisher, sequence, arrival_ns = publisher[order], sequence[order], arrival_ns[order]
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

    def _published(self, events: Sequence["EventRow"], measure_ns: int) -> Report:
        statuses: Counter[str] = Counter()
        accepted: Counter[tuple[int, str]] = Counter()
        own: list[int] = []
        unsent = due = taken = 0
        sampled: list[list[int | None]] = []
        for event in events:
            statuses[event.status] += 1
            measured = event.intended_ns >= measure_ns
            due += measured
            unsent += measured and event.sent_ns is None
            taken += measured and event.status == "accepted"
            if event.sent_ns is not None and event.slot_ns is not None and measured:
                own.append(event.sent_ns - event.slot_ns)
            if event.status == "accepted":
                accepted[(event.intended_ns - measure_ns) // _SECOND_NS, event.channel] += 1
                if (event.publisher + event.sequence) % self._every == 0:
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


def encode(values_ns: Values) -> str:
    """Return the encoded HDR histogram of values."""
    histogram = histograms.new_histogram()
    histograms.record(histogram, values_ns)
    encoded: str = histogram.encode().decode("ascii")
    return encoded


def _count_by_second(intended_ns: Values, measure_ns: int) -> list[list[int]]:
    """Return [second, rows] of each second after the start of the measure phase that has any; before it negative."""
    seconds = (intended_ns - measure_ns) // _SECOND_NS
    least = int(seconds.min())
    if int(seconds.max()) - least > _SPAN_S:
        found, counts = np.unique(seconds, return_counts=True)
        return [list(pair) for pair in zip(found.tolist(), counts.tolist(), strict=True)]
    counted = np.bincount(seconds - least)
    return [[least + place, int(counted[place])] for place in np.flatnonzero(counted).tolist()]
