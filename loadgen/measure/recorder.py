"""The recorder of one worker: collects the rows that users report, fills histograms and writes the spool.

The spool holds a worker's rows on disk until the end of the run (`measure.spool`). A connection or subscription has one
life for each time that its client connects: a reconnect begins a new life.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from analysis.record import schemas
from loadgen import native
from loadgen.measure import histograms
from loadgen.measure.broken import BrokenConnections
from loadgen.measure.clock import now_ns
from loadgen.measure.columns import COLUMNS, DeliveryBuffer, NativeDeliveryBuffer, Rows
from loadgen.measure.health import HealthSample, HealthSampler
from loadgen.measure.publishes import Events, buffer
from loadgen.measure.rows import (
    AlteredRow,
    ClockRow,
    ConnectionRow,
    EchoRow,
    SubscriptionRow,
)
from loadgen.measure.running import IntervalStatistics, Report
from loadgen.measure.sinks import Sinks, Values
from loadgen.measure.spool import SpoolWriter
from loadgen.measure.undecodable import Undecodable

_AT = {name: index for index, name in enumerate(COLUMNS)}
#: Largest publisher number that the record's column holds; a received stamp may hold any number.
_MOST_PUBLISHERS: Final = np.iinfo(np.int32).max
_NONE: Final = Sinks()
#: Maximum number of full buffers, of 4 MB each, that wait to be written.
MOST_WAITING: Final = 8


class Interval(NamedTuple):
    """Summary of one flush, for the progress line and for Locust's statistics."""

    end_ns: int
    deliveries: int
    published: int
    events: Events
    #: Times in ns from sending to the answer, one for each answered event.
    answered_ns: Values
    late_max_ns: int | None
    queue_max_ns: int | None
    #: Encoded HDR histogram of the headline latencies, or None if nothing arrived.
    delivery_histogram: str | None = None
    #: Encoded HDR histogram of the shortest latencies possible, given uncertain arrivals. None if all arrivals are
    #: exact, or if `Sinks.shortest` is false.
    shortest_histogram: str | None = None
    #: Running statistics of the interval, or None if `Sinks.running` is None.
    report: Report | None = None


class Recorder:
    """Collects the record of one worker.

    :meth:`deliver` is the hot path; everything else happens once a second in :meth:`flush`. ``run_in_thread`` runs slow
    work outside the event loop and waits for it cooperatively. That thread writes one buffer of rows at a time. If rows
    arrive faster than it writes, the event loop writes buffers too, which bounds the memory. ``lock`` keeps that thread
    and the event loop from writing at the same time; it must be a native lock, not gevent's, if ``run_in_thread`` uses
    a native thread. ``sinks`` get figures during the run.
    """

    def __init__(
        self,
        token: int,
        spool: SpoolWriter,
        run_in_thread: Callable[..., Any] = lambda f, *a: f(*a),
        lock: AbstractContextManager[Any] | None = None,
        sinks: Sinks = _NONE,
    ) -> None:
        self.token = token
        self.deliveries = 0
        self.events = 0
        self.foreign = 0
        #: Counts the unreadable messages from the service.
        self.undecodable = Undecodable()
        #: The last messages of connections that failed.
        self.broken = BrokenConnections()
        self.unknown_subscription = 0
        #: Number of readiness probes received: events that prove that a subscription delivers.
        self.probe_deliveries = 0
        #: Number of the service's deviations from its protocol, by kind.
        self.deviations: Counter[str] = Counter()
        #: Number, by kind, of messages that count neither as deliveries nor as errors, such as MQTT's retained
        #: messages.
        self.asides: Counter[str] = Counter()
        #: Subscriptions that the scenario reads slowly on purpose. The time that their messages wait in the
        #: socket is not the generator's delay.
        self.slow: set[int] = set()
        self._spool = spool
        self._run_in_thread = run_in_thread
        self._buffer = NativeDeliveryBuffer() if native.available else DeliveryBuffer()
        self._buffer.on_backpressure(MOST_WAITING, self._on_backpressure)
        self.deliver = self._buffer.add
        #: The buffer that C fast paths write deliveries into, or None if `loadgen.native` was not built.
        self.native_rows = self._buffer.rows if isinstance(self._buffer, NativeDeliveryBuffer) else None
        self._publishes = buffer()
        #: Records consecutive events of a publish request with one outcome; see `publishes.PublishBuffer.add` and
        #: `publishes.record`.
        self.publish: Callable[..., None] = self._publishes.add
        #: The buffer in which C code records the publishes that it sends, or None if `loadgen.native` was not built.
        self.native_publishes = self._publishes if isinstance(self._publishes, native.PublishRows) else None
        self._subscription_rows: list[SubscriptionRow] = []
        self._connection_rows: list[ConnectionRow] = []
        self._clock_rows: list[ClockRow] = []
        self._echo_rows: list[EchoRow] = []
        self._altered_rows: list[AlteredRow] = []
        self._sinks = sinks
        self._last_flush_ns = now_ns()
        self._writing = lock if lock is not None else nullcontext()
        #: The rows that are being written, by column; guarded by `_writing`.
        self._columns: Values = np.empty((len(COLUMNS), 0), dtype=np.int64)
        #: Sums over the rows of the current interval that were written before its end, or None if there are none.
        self._seen: _Seen | None = None
        self._failed: Exception | None = None

    def take_accepted(self) -> int:
        """Return how many events sent by C code (`native.PublishLane`) were accepted since the last call.

        The C code records them without calling Python, so the buffer itself counts the accepted ones.
        """
        return 0 if self.native_publishes is None else self.native_publishes.take_accepted()

    def subscription(self, row: SubscriptionRow) -> None:
        """Record a subscription when it is ready, and again with all values when it ends.

        Each connect of its client begins a new life of the subscription, which has a row of its own.
        """
        self._subscription_rows.append(row)

    def connection(self, row: ConnectionRow) -> None:
        """Record a connection when it is accepted, and again with all values when it ends.

        A reconnect begins a new life of the connection, which has a row of its own.
        """
        self._connection_rows.append(row)

    def clock(self, row: ClockRow) -> None:
        """Record a ping that the master has answered."""
        self._clock_rows.append(row)

    def echoes(self, rows: Sequence[EchoRow]) -> None:
        """Record echoes (events that this worker published to itself) that have returned, or that are given up."""
        self._echo_rows.extend(rows)

    def altered(self, row: AlteredRow) -> None:
        """Record that a delivery's content differs from what was sent; ignore probes.

        Call :meth:`deliver` as well.
        """
        if row.publisher >= 0:
            self._altered_rows.append(row)

    def flush(self, health: HealthSampler | None = None) -> Interval:
        """Write everything recorded since the last call and return its summary.

        Raises:
            OSError: writing to the disk failed.
        """
        start_ns, self._last_flush_ns = self._last_flush_ns, now_ns()
        end_ns = self._last_flush_ns
        pieces = self._buffer.take()
        events = Events(*self._publishes.take())
        subscriptions, self._subscription_rows = self._subscription_rows, []
        connections, self._connection_rows = self._connection_rows, []
        clocks, self._clock_rows = self._clock_rows, []
        echoes, self._echo_rows = self._echo_rows, []
        altered, self._altered_rows = self._altered_rows, []
        late_ns, _ = events.own_lateness_ns()
        late_max_ns = int(late_ns.max()) if len(late_ns) else None
        published = events.sent
        self.events += len(events)
        sample = health.sample(published, late_max_ns) if health is not None else None
        seen, self._seen = self._seen or self._begin(), None

        answered_ns = events.answer_times_ns()

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
            if len(events):
                self._spool.write(events.batch(self._spool.worker), "events")
            self._spool.write_rows("subscriptions", subscriptions)
            self._spool.write_rows("connections", connections)
            self._spool.write_rows("clock", clocks)
            self._spool.write_rows("echo", echoes)
            self._spool.write_rows("altered", altered)
            self._spool.write_rows("health", [row.row() for row in health_rows])
            self._spool.write_rows("histograms", histogram_rows)
            encoded = {row[0]: row[3] for row in histogram_rows}
            report = None
            if seen.running is not None:
                report = seen.running.report(
                    events, answered_ns, seen.histograms["delivery"].histogram, encoded
                )
                report.update(_span(start_ns + seen.offset_ns, end_ns + seen.offset_ns, health_rows))
            return encoded.get("delivery"), seen.shortest(), report

        histogram, shortest, report = self._run_in_thread(write)
        return Interval(
            *(end_ns, seen.count, published, events, answered_ns),
            *(late_max_ns, seen.queue_max_ns, histogram, shortest, report),
        )

    def _begin(self) -> "_Seen":
        return _Seen(self._sinks, list(self.slow))

    def _on_backpressure(self) -> None:
        """Write the oldest buffer here, in the event loop: buffers fill faster than the writing thread empties them."""
        if self._seen is None:
            self._seen = self._begin()
        try:
            for rows in self._buffer.take_oldest():
                with self._writing:
                    self._write(rows, self._seen)
        except Exception as error:
            # The receive path cannot handle the error; the next flush raises it.
            self._failed = error

    def _write(self, rows: Rows, seen: "_Seen") -> None:
        columns = self._own(rows)
        if columns.size:
            self.deliveries += columns.shape[1]
            seen.deliveries(columns)
            self._spool.write(self._batch(columns), "deliveries")

    def _own(self, rows: Rows) -> Values:
        """Return this run's deliveries in shape (columns, n). Probes and events of other runs are counted and left out.

        The array is valid until the next call: new memory for each would cost as much as the rest of the writing.
        """
        if self._columns.shape[1] < len(rows):
            self._columns = np.empty((len(COLUMNS), len(rows)), dtype=np.int64)
        columns = self._columns[:, : len(rows)]
        columns[:] = rows.T
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
            # `pa.array` raises if a number does not fit. Arrow's `cast` would too, but it loads all compute functions.
            arrays.append(pa.array(columns[_AT[field.name]], type=field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


class _Tagged:
    """An HDR histogram, and counts of the values that were negative or too large for it."""

    def __init__(self) -> None:
        self.histogram = histograms.new_histogram()
        self.negative = self.beyond = 0

    def record(self, values_ns: Values) -> None:
        negative, beyond = histograms.record(self.histogram, values_ns)
        self.negative += negative
        self.beyond += beyond


class _Seen:
    """Sums and histograms over the deliveries of one interval; `deliveries` adds a part of these deliveries."""

    def __init__(self, sinks: Sinks, slow: list[int]) -> None:
        self._slow = slow
        self.offset_ns = sinks.clock_offset_ns()
        self._tally, self._tells_shortest = sinks.tally, sinks.shortest
        self.running: IntervalStatistics | None = (
            None if sinks.running is None else sinks.running.begin(self.offset_ns)
        )
        self.count = 0
        self.queue_max_ns: int | None = None
        #: Headline latencies of uncertain arrivals, and the shortest latencies that these arrivals may truly have had.
        self._uncertain: tuple[_Tagged, _Tagged] | None = None
        self.histograms = {tag: _Tagged() for tag in ("delivery", "service", "queue", "publish")}

    def deliveries(self, columns: Values) -> None:
        """Add deliveries, an array of shape (columns, n)."""
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
        if self.running is not None:
            self.running.add(named, latency_ns)

    def _take_uncertain(self, named: Mapping[str, Values], latency_ns: Values) -> None:
        uncertain = named["uncertain_ns"] > 0
        if not uncertain.any():
            return
        if self._uncertain is None:
            self._uncertain = _Tagged(), _Tagged()
        longest, shortest = self._uncertain
        longest.record(latency_ns[uncertain])
        # Count negative latencies as 0: a histogram cannot hold them, and leaving them out would shift its percentiles.
        shortest.record(np.maximum(latency_ns[uncertain] - named["uncertain_ns"][uncertain], 0))

    def shortest(self) -> str | None:
        """Return the encoded histogram of the shortest possible latencies, or None if no arrival is uncertain."""
        if self._uncertain is None:
            return None
        longest, shortest = (tagged.histogram for tagged in self._uncertain)
        rest = histograms.difference(self.histograms["delivery"].histogram, longest)
        rest.add(shortest)
        return histograms.encoded(rest)

    def answers(self, times_ns: Values) -> None:
        """Add the answer times of publishes."""
        self.histograms["publish"].record(times_ns)

    def histogram_rows(self, start_ns: int, end_ns: int) -> Iterator[tuple[Any, ...]]:
        """Yield a row of the spool's histogram table for each histogram that received a value."""
        for tag, tagged in self.histograms.items():
            histogram = tagged.histogram
            if histogram.total_count or tagged.negative or tagged.beyond:
                encoded = histograms.encoded(histogram)
                yield (
                    *(tag, start_ns, end_ns, encoded),
                    *(histogram.get_max_value(), tagged.negative, tagged.beyond),
                )


def _span(start_ns: int, end_ns: int, health: Sequence[HealthSample]) -> Report:
    """Return the part of a report with its start and end on the master's clock, and the process's health."""
    return {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "health": health[0].to_dict() if health else None,
    }
