"""The rows of the run's record, one class for each table.

Deliveries (columns.py) and publishes (publishes.py) are too many to create one such object for each.
"""

from typing import NamedTuple


class EventRow(NamedTuple):
    """One row of the record's events table, without the worker column; see results/README.md.

    ``slot_ns`` is the time from which the event could be sent: it was due, and the client had a free slot for a publish
    request.
    """

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
    #: Time for which the event waited for an open connection (ns).
    connection_wait_ns: int | None = None
    #: IP address and port to which the event was sent; of the last attempt if sending failed.
    remote_address: str | None = None
    #: If the event is a reply, the delivery that caused it: the delivered event, and the subscription that received it.
    cause_publisher: int | None = None
    cause_sequence: int | None = None
    cause_subscription: int | None = None


class SubscriptionRow(NamedTuple):
    """One row of the record's subscriptions table, without the worker column; see results/README.md."""

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
    #: Meaning of the service's refusal (see protocol.refusals), or None if it was not refused.
    refusal: str | None = None
    #: Number of replies planned for each event delivered to the subscription, or None if the plan has none.
    replies: int | None = None
    #: Name of the group whose members share the subscription, or None if it is not shared.
    shared: str | None = None


class ConnectionRow(NamedTuple):
    """One row of the record's connections table, without the worker column; see results/README.md."""

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
    #: IP address and port of the service; of the last attempt if the connection failed.
    remote_address: str | None = None
    #: Time of the last data received, if the client closed the connection because no more data arrived.
    silent_since_ns: int | None = None
    #: Meaning of the service's refusal (see protocol.refusals), or None if it was not refused or the reason is unknown.
    refusal: str | None = None
    #: What became of the client's session in this connect, such as `resumed` or `lost`; None if it keeps no session.
    session: str | None = None


class ClockRow(NamedTuple):
    """One row of the record's clock table, without the worker column; see results/README.md."""

    sent_ns: int
    master_received_ns: int
    master_sent_ns: int
    received_ns: int
    sent_raw_ns: int | None = None
    master_raw_ns: int | None = None
    received_raw_ns: int | None = None
    #: Error bounds (ns) of the worker's clock and of the master's clock, as ClockBound gives them (see
    #: measure.clockbound), or None if unknown.
    bound_ns: int | None = None
    master_bound_ns: int | None = None


class EchoRow(NamedTuple):
    """One row of the record's echo table, without the worker column; see results/README.md.

    An echo is an event that a worker publishes to itself, so that one clock times its round trip.
    """

    sequence: int
    intended_ns: int
    sent_ns: int
    arrival_ns: int | None
    read_ns: int | None


class AlteredRow(NamedTuple):
    """One row of the record's table of altered deliveries, without the worker column; see results/README.md."""

    subscription: int
    publisher: int
    sequence: int
    arrival_ns: int
