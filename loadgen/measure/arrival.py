"""The arrival time of a message: a moment, or an interval where the exact moment is unknown.

One read of a socket yields one kernel timestamp, that of its last segment. A message that this segment completes
arrived at the timestamp. Every other message of the same read arrived earlier, but after the socket was last seen
empty.
"""


class Arrival(int):
    """An arrival known only as an interval; its integer value is the interval's end, in ns.

    An exact arrival is a plain int. Arithmetic on an `Arrival` returns a plain int and loses the interval, so pass
    arrivals on unchanged.
    """

    #: Length of the interval in ns: the arrival may be up to this much earlier than the interval's end.
    uncertain_ns: int
    #: For bytes that may hold several messages (see `of_bytes`): the arrival of the message that ends with the last
    #: byte.
    end: int | None = None


def arrival(latest_ns: int, uncertain_ns: int) -> int:
    """Return an arrival within (latest - uncertain, latest]; a plain int if ``uncertain_ns`` is 0."""
    if not uncertain_ns:
        return latest_ns
    found = Arrival(latest_ns)
    found.uncertain_ns = uncertain_ns
    return found


def of_bytes(latest_ns: int, within_ns: int, end_ns: int) -> int:
    """Return the arrival of bytes that may hold several messages.

    The arrival of a message that ends before the last byte is uncertain by ``within_ns``. The arrival of the message
    that ends with the last byte is uncertain by ``end_ns``; `end_of` returns it.
    """
    if not within_ns:
        return latest_ns
    found = Arrival(latest_ns)
    found.uncertain_ns, found.end = within_ns, arrival(latest_ns, end_ns)
    return found


def end_of(arrival_ns: int) -> int:
    """Return the arrival of the message that ends with the last of the bytes that arrived."""
    if isinstance(arrival_ns, Arrival) and arrival_ns.end is not None:
        return arrival_ns.end
    return arrival_ns
