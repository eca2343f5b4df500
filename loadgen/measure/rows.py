"""The rows of a record that users report one by one; deliveries, which are many, are in columns.py."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


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
    #: How long it waited for an open connection.
    connection_wait_ns: int | None = None
    #: IP address and port that it was sent to, or that was tried last.
    remote_address: str | None = None

    @property
    def own_lateness_ns(self) -> int | None:
        """How late the generator itself was; None: it was not sent."""
        if self.sent_ns is None or self.slot_ns is None:
            return None
        return self.sent_ns - (self.connection_wait_ns or 0) - self.slot_ns


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
    #: What the service's refusal means (see protocol.refusals); None: it was not refused.
    refusal: str | None = None


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
    #: IP address and port that it was connected to, or that was tried last.
    remote_address: str | None = None
    #: When data last came, of one that was closed since none came any more.
    silent_since_ns: int | None = None
    #: What the service's refusal means (see protocol.refusals); None: it was not refused, or for what is not known.
    refusal: str | None = None


class ClockRow(NamedTuple):
    """One row of the record's clock table, without the worker; see results/README.md."""

    sent_ns: int
    master_received_ns: int
    master_sent_ns: int
    received_ns: int
    sent_raw_ns: int | None = None
    master_raw_ns: int | None = None
    received_raw_ns: int | None = None
    #: What ClockBound said of the two hosts' clocks (see measure.clockbound); None: nothing.
    bound_ns: int | None = None
    master_bound_ns: int | None = None


class EchoRow(NamedTuple):
    """One row of the record's echo table, without the worker; see results/README.md."""

    sequence: int
    intended_ns: int
    sent_ns: int
    arrival_ns: int | None
    read_ns: int | None


def answer_times_ns(events: Sequence[EventRow]) -> npt.NDArray[np.int64]:
    """Return how long answers took, of the events that have one; nanoseconds."""
    return np.array(
        [e.acked_ns - e.sent_ns for e in events if e.acked_ns is not None and e.sent_ns is not None],
        dtype=np.int64,
    )
