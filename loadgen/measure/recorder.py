"""The recorder of one worker: takes what users report, keeps columns and histograms, writes the spool."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from loadgen import native
from loadgen.measure import histograms
from loadgen.measure.clock import now_ns
from loadgen.measure.columns import COLUMNS, DeliveryBuffer, NativeDeliveryBuffer, Rows
from loadgen.measure.health import HealthSample, HealthSampler
from loadgen.measure.live import LiveReports, Report
from loadgen.measure.spool import SpoolWriter, spool_schema

_AT = {name: index for index, name in enumerate(COLUMNS)}
Values = npt.NDArray[np.int64]


class EventRow(NamedTuple):
    """One row of the record's events table, without the worker; see results/README.md."""

    publisher: int
    sequence: int
    batch: int
    channel: str
    intended_ns: int
    slot_ns: int | None
    sent_ns: int | None
    acked_ns: int | None
    status: str
    error: str | None
    bytes: int


class SubscriptionRow(NamedTuple):
    """One row of the record's subscriptions table, without the worker; see results/README.md."""

    subscription: int
    connection: int
    life: int
    group: str
    channel: str
    requested_ns: int
    acknowledged_ns: int | None
    probed_ns: int | None
    ready_ns: int | None
    ended_ns: int | None
    error: str | None
    turn: int = 0
    intent: str | None = None


class ConnectionRow(NamedTuple):
    """One row of the record's connections table, without the worker; see results/README.md."""

    connection: int
    life: int
    group: str
    started_ns: int
    opened_ns: int | None
    acknowledged_ns: int | None
    closed_ns: int | None
    close_code: int | None
    error: str | None
    kernel_timestamps: bool
    tls: bool
    intent: str | None = None
    slow: bool = False


class ClockRow(NamedTuple):
    """One row of the record's clock table, without the worker; see results/README.md."""

    sent_ns: int
    master_received_ns: int
    master_sent_ns: int
    received_ns: int


class Interval(NamedTuple):
    """What one flush saw, for the progress line and for Locust's statistics."""

    end_ns: int
    deliveries: int
    published: int
    events: Sequence[EventRow]
    latencies_ns: Values
    subscriptions: Values
    late_max_ns: int | None
    queue_max_ns: int | None
    #: The headline latencies' HDR histogram, encoded; None where nothing arrived.
    delivery_histogram: str | None = None
    #: For live displays, where the recorder was told to make one.
    live: Report | None = None


class Recorder:
    """Collects the record of one worker.

    :meth:`deliver` is the hot path. Everything else happens once a second in :meth:`flush`; ``run_in_thread`` runs the
    write to disk outside the event loop and waits for it cooperatively.
    """

    def __init__(
        self, token: int, spool: SpoolWriter, run_in_thread: Callable[..., Any] = lambda f, *a: f(*a)
    ) -> None:
        self.token = token
        self.deliveries = 0
        self.events = 0
        self.foreign = 0
        self.undecodable = 0
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
        self.deliver = self._buffer.add
        #: Where native lanes write deliveries to; None: there are none.
        self.native_rows = self._buffer.rows if isinstance(self._buffer, NativeDeliveryBuffer) else None
        self._event_rows: list[EventRow] = []
        self._subscription_rows: list[SubscriptionRow] = []
        self._connection_rows: list[ConnectionRow] = []
        self._clock_rows: list[ClockRow] = []
        #: The master's clock minus this process's, as far as it is known now: for the histograms only.
        self.clock_offset_ns = 0
        #: Makes the reports for live displays; None: nobody looks.
        self.live: LiveReports | None = None
        self._last_flush_ns = now_ns()

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

    def flush(self, health: HealthSampler | None = None) -> Interval:
        """Write what came in since the last call; raises OSError where the disk does not take it."""
        start_ns, self._last_flush_ns = self._last_flush_ns, now_ns()
        end_ns = self._last_flush_ns
        arrays = self._buffer.take()
        rows = self._own(np.concatenate(arrays) if len(arrays) > 1 else arrays[0]) if arrays else _NO_ROWS
        events, self._event_rows = self._event_rows, []
        subscriptions, self._subscription_rows = self._subscription_rows, []
        connections, self._connection_rows = self._connection_rows, []
        clocks, self._clock_rows = self._clock_rows, []

        latency = rows[:, _AT["arrival_ns"]] - rows[:, _AT["intended_ns"]]
        if self.clock_offset_ns:
            latency = latency + self.clock_offset_ns
        queue = rows[:, _AT["read_ns"]] - rows[:, _AT["arrival_ns"]]
        if self.slow:
            queue = queue[~np.isin(rows[:, _AT["subscription"]], list(self.slow))]
        late_max_ns = max(
            (e.sent_ns - e.slot_ns for e in events if e.sent_ns is not None and e.slot_ns is not None),
            default=None,
        )
        published = sum(1 for e in events if e.sent_ns is not None)
        interval = Interval(
            end_ns=end_ns,
            deliveries=len(rows),
            published=published,
            events=events,
            latencies_ns=latency,
            subscriptions=rows[:, _AT["subscription"]],
            late_max_ns=late_max_ns,
            queue_max_ns=int(queue.max()) if len(queue) else None,
        )
        self.deliveries += len(rows)
        self.events += len(events)
        tagged = {
            "delivery": latency,
            "service": rows[:, _AT["arrival_ns"]] - rows[:, _AT["sent_ns"]],
            "queue": queue,
            "publish": np.array(
                [e.acked_ns - e.sent_ns for e in events if e.acked_ns is not None and e.sent_ns is not None],
                dtype=np.int64,
            ),
        }
        health_rows = (
            [health.sample(len(rows), published, late_max_ns, interval.queue_max_ns)]
            if health is not None
            else []
        )

        live, offset_ns = self.live, self.clock_offset_ns

        def write() -> tuple[str | None, Report | None]:
            histogram_rows = _histogram_rows(tagged, start_ns, end_ns)
            if len(rows):
                self._spool.write(self._batch(rows), "deliveries")
            self._spool.write_rows("events", events)
            self._spool.write_rows("subscriptions", subscriptions)
            self._spool.write_rows("connections", connections)
            self._spool.write_rows("clock", clocks)
            self._spool.write_rows("health", health_rows)
            self._spool.write_rows("histograms", histogram_rows)
            encoded = {row[0]: row[3] for row in histogram_rows}
            report = None
            if live is not None:
                columns = {name: rows[:, _AT[name]] for name in _LIVE_COLUMNS}
                report = live.report(columns, latency, events, encoded, offset_ns)
                report.update(_span(start_ns + offset_ns, end_ns + offset_ns, health_rows))
            return encoded.get("delivery"), report

        histogram, report = self._run_in_thread(write)
        return interval._replace(delivery_histogram=histogram, live=report)

    def _own(self, rows: Rows) -> Rows:
        """Keep this run's events: other runs' are counted as foreign; readiness probes are not deliveries."""
        ours = rows[:, _AT["token"]] == self.token
        foreign = len(rows) - int(np.count_nonzero(ours))
        self.foreign += foreign
        keep = ours & (rows[:, _AT["publisher"]] >= 0)
        self.probe_deliveries += int(np.count_nonzero(ours)) - int(np.count_nonzero(keep))
        return rows if keep.all() else rows[keep]

    def _batch(self, rows: Rows) -> pa.RecordBatch:
        schema = spool_schema("deliveries")
        arrays = [pa.array(np.full(len(rows), self._spool.worker, dtype=np.int16))]
        for field in list(schema)[1:]:
            arrays.append(pa.array(rows[:, _AT[field.name]], type=pa.int64()).cast(field.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


_LIVE_COLUMNS = ("publisher", "sequence", "intended_ns", "arrival_ns")


def _span(start_ns: int, end_ns: int, health: Sequence[HealthSample]) -> Report:
    """Return what a report says of its second (on the master's clock) and of the process."""
    return {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "health": health[0]._asdict() if health else None,
    }


_NO_ROWS: Rows = np.empty((0, len(COLUMNS)), dtype=np.int64)


def _histogram_rows(tagged: dict[str, Values], start_ns: int, end_ns: int) -> list[tuple[Any, ...]]:
    rows = []
    for tag, values in tagged.items():
        if not values.size:
            continue
        histogram = histograms.new_histogram()
        negative, beyond = histograms.record(histogram, values)
        encoded = histogram.encode().decode("ascii")
        rows.append((tag, start_ns, end_ns, encoded, histogram.get_max_value(), negative, beyond))
    return rows
