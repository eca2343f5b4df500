"""The recorder of one worker: takes what users report, keeps columns and histograms, writes the spool."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.record import schemas
from loadgen import native
from loadgen.measure import histograms
from loadgen.measure.clock import now_ns
from loadgen.measure.columns import COLUMNS, DeliveryBuffer, NativeDeliveryBuffer, Rows
from loadgen.measure.health import HealthSample, HealthSampler
from loadgen.measure.live import LiveInterval, LiveReports, Report
from loadgen.measure.rows import ClockRow, ConnectionRow, EchoRow, EventRow, SubscriptionRow, answer_times_ns
from loadgen.measure.spool import SpoolWriter
from loadgen.measure.undecodable import Undecodable

_AT = {name: index for index, name in enumerate(COLUMNS)}
#: What the record's column holds; what arrives may say anything.
_MOST_PUBLISHERS: Final = np.iinfo(np.int32).max
Values = npt.NDArray[np.int64]
#: Full buffers that may wait to be written, of 4 MB each.
MOST_WAITING: Final = 8


class Interval(NamedTuple):
    """What one flush saw, for the progress line and for Locust's statistics."""

    end_ns: int
    deliveries: int
    published: int
    events: Sequence[EventRow]
    #: How long answers to publishes took.
    answered_ns: Values
    late_max_ns: int | None
    queue_max_ns: int | None
    #: The headline latencies' HDR histogram, encoded; None where nothing arrived.
    delivery_histogram: str | None = None
    #: The same of the shortest that they can have been; None: the same, since all arrivals are exact, or nobody asked.
    shortest_histogram: str | None = None
    #: For live displays, where the recorder was told to make one.
    live: Report | None = None


class Recorder:
    """Collects the record of one worker.

    :meth:`deliver` is the hot path. Everything else happens once a second in :meth:`flush`; ``run_in_thread`` runs
    what takes time outside the event loop and waits for it cooperatively. Rows are dealt with a buffer at a time, and
    where more come in than that thread can write, the event loop has to: so memory has a bound. ``lock`` is for both
    and must be one of native threads where there are any.
    """

    def __init__(
        self,
        token: int,
        spool: SpoolWriter,
        run_in_thread: Callable[..., Any] = lambda f, *a: f(*a),
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.token = token
        self.deliveries = 0
        self.events = 0
        self.foreign = 0
        #: What the service sent that cannot be read.
        self.undecodable = Undecodable()
        self.unknown_subscription = 0
        #: Readiness probes that arrived.
        self.probe_deliveries = 0
        #: What the service did otherwise than its protocol says, and how often.
        self.deviations: Counter[str] = Counter()
        #: Subscriptions that are read slowly on purpose: their wait in the socket is not the generator's delay.
        self.slow: set[int] = set()
        self._spool = spool
        self._run_in_thread = run_in_thread
        self._buffer = NativeDeliveryBuffer() if native.available else DeliveryBuffer()
        self._buffer.on_backpressure(MOST_WAITING, self._on_backpressure)
        self.deliver = self._buffer.add
        #: Where native fast paths write deliveries to; None: there are none.
        self.native_rows = self._buffer.rows if isinstance(self._buffer, NativeDeliveryBuffer) else None
        self._event_rows: list[EventRow] = []
        self._subscription_rows: list[SubscriptionRow] = []
        self._connection_rows: list[ConnectionRow] = []
        self._clock_rows: list[ClockRow] = []
        self._echo_rows: list[EchoRow] = []
        #: The master's clock minus this process's, as far as it is known now: for the histograms only.
        self.clock_offset_ns = 0
        #: Makes the reports for live displays; None: nobody looks.
        self.live: LiveReports | None = None
        #: Whether somebody asks for `Interval.shortest_histogram`, which costs as much as the other histograms do.
        self.tells_shortest = False
        #: Told of each piece of an interval's deliveries, in the thread that writes: their subscriptions and headline
        #: latencies.
        self.tally: Callable[[Values, Values], None] | None = None
        self._last_flush_ns = now_ns()
        self._writing = lock if lock is not None else nullcontext()
        #: What is known already of the interval that has not ended.
        self._seen: _Seen | None = None
        self._failed: Exception | None = None

    def event(self, row: EventRow) -> None:
        """Take an event that was answered, or never will be."""
        self._event_rows.append(row)

    def subscription(self, row: SubscriptionRow) -> None:
        """Take a life of a subscription: when it is ready, and again, whole, when it ended."""
        self._subscription_rows.append(row)

    def connection(self, row: ConnectionRow) -> None:
        """Take a life of a connection: when it is accepted, and again, whole, when it ended."""
        self._connection_rows.append(row)

    def clock(self, row: ClockRow) -> None:
        """Take a ping that the master has answered."""
        self._clock_rows.append(row)

    def echoes(self, rows: Sequence[EchoRow]) -> None:
        """Take echoes that have come back, or never will."""
        self._echo_rows.extend(rows)

    def flush(self, health: HealthSampler | None = None) -> Interval:
        """Write what came in since the last call; raises OSError where the disk does not take it."""
        start_ns, self._last_flush_ns = self._last_flush_ns, now_ns()
        end_ns = self._last_flush_ns
        pieces = self._buffer.take()
        events, self._event_rows = self._event_rows, []
        subscriptions, self._subscription_rows = self._subscription_rows, []
        connections, self._connection_rows = self._connection_rows, []
        clocks, self._clock_rows = self._clock_rows, []
        echoes, self._echo_rows = self._echo_rows, []
        late_max_ns = max(
            (late_ns for event in events if (late_ns := event.own_lateness_ns) is not None), default=None
        )
        published = sum(1 for e in events if e.sent_ns is not None)
        self.events += len(events)
        sample = health.sample(published, late_max_ns) if health is not None else None
        seen, self._seen = self._seen or self._begin(), None

        answered_ns = answer_times_ns(events)

        def write() -> tuple[str | None, str | None, Report | None]:
            for rows in pieces:
                with self._writing:
                    self._write(rows, seen)
            if self._failed is not None:
                raise self._failed
            seen.answers(answered_ns)
            health_rows = (
                [sample._replace(deliveries=seen.count, queue_max_ns=seen.queue_max_ns)] if sample else []
            )
            histogram_rows = list(seen.histogram_rows(start_ns, end_ns))
            self._spool.write_rows("events", events)
            self._spool.write_rows("subscriptions", subscriptions)
            self._spool.write_rows("connections", connections)
            self._spool.write_rows("clock", clocks)
            self._spool.write_rows("echo", echoes)
            self._spool.write_rows("health", [row.row() for row in health_rows])
            self._spool.write_rows("histograms", histogram_rows)
            encoded = {row[0]: row[3] for row in histogram_rows}
            report = None
            if seen.live is not None:
                report = seen.live.report(events, answered_ns, seen.histograms["delivery"].histogram, encoded)
                report.update(_span(start_ns + seen.offset_ns, end_ns + seen.offset_ns, health_rows))
            return encoded.get("delivery"), seen.shortest(), report

        histogram, shortest, report = self._run_in_thread(write)
        return Interval(
            *(end_ns, seen.count, published, events, answered_ns),
            *(late_max_ns, seen.queue_max_ns, histogram, shortest, report),
        )

    def _begin(self) -> "_Seen":
        live = self.live.begin(self.clock_offset_ns) if self.live is not None else None
        return _Seen(self.clock_offset_ns, list(self.slow), live, self.tally, self.tells_shortest)

    def _on_backpressure(self) -> None:
        """Write a buffer here and now, in the event loop: more come in than are written."""
        if self._seen is None:
            self._seen = self._begin()
        try:
            for rows in self._buffer.take_oldest():
                with self._writing:
                    self._write(rows, self._seen)
        except Exception as error:
            # The receive path has nobody to tell; the next flush has.
            self._failed = error

    def _write(self, rows: Rows, seen: "_Seen") -> None:
        columns = self._own(rows)
        if columns.size:
            self.deliveries += columns.shape[1]
            seen.deliveries(columns)
            self._spool.write(self._batch(columns), "deliveries")

    def _own(self, rows: Rows) -> Values:
        """Return this run's deliveries as (columns, n); other runs' are counted as foreign, probes as probes."""
        columns = rows.T.copy()
        publisher = columns[_AT["publisher"]]
        ours = (columns[_AT["token"]] == self.token) & (publisher <= _MOST_PUBLISHERS)
        foreign = len(rows) - int(np.count_nonzero(ours))
        self.foreign += foreign
        keep = ours & (publisher >= 0)
        self.probe_deliveries += int(np.count_nonzero(ours)) - int(np.count_nonzero(keep))
        return columns if keep.all() else columns[:, keep]

    def _batch(self, columns: Values) -> pa.RecordBatch:
        schema = schemas.plain("deliveries")
        arrays = [pa.array(np.full(columns.shape[1], self._spool.worker, dtype=np.int16))]
        for field in list(schema)[1:]:
            # Raises where a number does not fit; a cast of Arrow's own would load all of its functions for it.
            arrays.append(pa.array(columns[_AT[field.name]], type=field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Tagged:
    """An HDR histogram, and how many values it could not hold."""

    def __init__(self) -> None:
        self.histogram = histograms.new_histogram()
        self.negative = self.beyond = 0

    def record(self, values_ns: Values) -> None:
        negative, beyond = histograms.record(self.histogram, values_ns)
        self.negative += negative
        self.beyond += beyond


class _Seen:
    """What the rows of one interval add up to, a piece at a time."""

    def __init__(
        self,
        offset_ns: int,
        slow: list[int],
        live: LiveInterval | None,
        tally: Callable[[Values, Values], None] | None,
        tells_shortest: bool,
    ) -> None:
        self.offset_ns, self._slow, self.live, self._tally = offset_ns, slow, live, tally
        self._tells_shortest = tells_shortest
        self.count = 0
        self.queue_max_ns: int | None = None
        #: Headline latencies of arrivals that are uncertain, and the shortest that these can have been.
        self._uncertain: tuple[_Tagged, _Tagged] | None = None
        self.histograms = {tag: _Tagged() for tag in ("delivery", "service", "queue", "publish")}

    def deliveries(self, columns: Values) -> None:
        """Take deliveries, an array of shape (columns, n)."""
        named = dict(zip(COLUMNS, columns, strict=True))
        arrival_ns = named["arrival_ns"]
        latency_ns = arrival_ns - named["intended_ns"]
        if self.offset_ns:
            latency_ns += self.offset_ns
        queue_ns = named["read_ns"] - arrival_ns
        if self._slow:
            queue_ns = queue_ns[~np.isin(named["subscription"], self._slow)]
        self.count += len(latency_ns)
        if len(queue_ns):
            longest_ns = int(queue_ns.max())
            self.queue_max_ns = (
                longest_ns if self.queue_max_ns is None else max(longest_ns, self.queue_max_ns)
            )
        self.histograms["delivery"].record(latency_ns)
        if self._tells_shortest:
            self._take_uncertain(named, latency_ns)
        self.histograms["service"].record(arrival_ns - named["sent_ns"])
        self.histograms["queue"].record(queue_ns)
        if self._tally is not None:
            self._tally(named["subscription"], latency_ns)
        if self.live is not None:
            self.live.add(named, latency_ns)

    def _take_uncertain(self, named: Mapping[str, Values], latency_ns: Values) -> None:
        uncertain = named["uncertain_ns"] > 0
        if not uncertain.any():
            return
        if self._uncertain is None:
            self._uncertain = _Tagged(), _Tagged()
        longest, shortest = self._uncertain
        longest.record(latency_ns[uncertain])
        # A histogram holds nothing below zero, and to leave those out would make the others' ranks higher.
        shortest.record(np.maximum(latency_ns[uncertain] - named["uncertain_ns"][uncertain], 0))

    def shortest(self) -> str | None:
        """Return the encoded histogram of the shortest that headline latencies can have been; None: of themselves."""
        if self._uncertain is None:
            return None
        longest, shortest = (tagged.histogram for tagged in self._uncertain)
        rest = histograms.difference(self.histograms["delivery"].histogram, longest)
        rest.add(shortest)
        return histograms.encoded(rest)

    def answers(self, times_ns: Values) -> None:
        """Take how long publishes took to be answered."""
        self.histograms["publish"].record(times_ns)

    def histogram_rows(self, start_ns: int, end_ns: int) -> Iterator[tuple[Any, ...]]:
        """Yield a row of the spool's table for each histogram that was told of anything."""
        for tag, tagged in self.histograms.items():
            histogram = tagged.histogram
            if histogram.total_count or tagged.negative or tagged.beyond:
                encoded = histograms.encoded(histogram)
                yield (
                    *(tag, start_ns, end_ns, encoded),
                    *(histogram.get_max_value(), tagged.negative, tagged.beyond),
                )


def _span(start_ns: int, end_ns: int, health: Sequence[HealthSample]) -> Report:
    """Return what a report says of its second (on the master's clock) and of the process."""
    return {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "health": health[0].to_dict() if health else None,
    }
