"""Record publishes as one row for each event, as tests write them; the harness makes one row for several events."""

from collections.abc import Callable, Sequence

from loadgen.measure.publishes import Events, buffer
from loadgen.measure.rows import EventRow


def record(publish: Callable[..., None], row: EventRow) -> None:
    """Record one event by calling ``publish``, which is `Recorder.publish` or the ``add`` of a buffer."""
    publish(*row[:10], [row.bytes], *row[11:])


def events_of(rows: Sequence[EventRow]) -> Events:
    """Return the events of rows."""
    made = buffer()
    for row in rows:
        record(made.add, row)
    return Events(*made.take())


def own_lateness_ns(row: EventRow) -> int | None:
    """Return the lateness (ns) that the generator itself caused, or None if the event was not sent."""
    if row.sent_ns is None or row.slot_ns is None:
        return None
    return row.sent_ns - (row.connection_wait_ns or 0) - row.slot_ns
