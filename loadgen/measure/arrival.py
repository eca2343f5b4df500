"""When a message arrived: exactly, or between two moments.

One read of a socket has one kernel stamp, that of its last segment. What the read's last segment has completed arrived
at the stamp; what else the read brought arrived before, and after the socket was last seen empty.
"""


class Arrival(int):
    """An arrival that is known as an interval; as a number its later end, in ns. An exact arrival is a plain int.

    Arithmetic gives plain ints: hand an arrival on as it is.
    """

    #: The arrival may be earlier than the number by up to this.
    uncertain_ns: int
    #: Of bytes that may hold several messages: the arrival of a message that ends where they end.
    end: int | None = None


def arrival(latest_ns: int, uncertain_ns: int) -> int:
    """Return an arrival in (latest - uncertain, latest]: a plain int where it is exact."""
    if not uncertain_ns:
        return latest_ns
    found = Arrival(latest_ns)
    found.uncertain_ns = uncertain_ns
    return found


def of_bytes(latest_ns: int, within_ns: int, end_ns: int) -> int:
    """Return the arrival of bytes that may hold several messages: see `end_of`.

    A message that ends within the bytes is uncertain by ``within_ns``, one that ends with them by ``end_ns``.
    """
    if not within_ns:
        return latest_ns
    found = Arrival(latest_ns)
    found.uncertain_ns, found.end = within_ns, arrival(latest_ns, end_ns)
    return found


def end_of(arrival_ns: int) -> int:
    """Return the arrival of a message that ends where the bytes of this arrival end."""
    if isinstance(arrival_ns, Arrival) and arrival_ns.end is not None:
        return arrival_ns.end
    return arrival_ns
