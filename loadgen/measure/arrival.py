"""When a message arrived: exactly, or between two moments.

One read of a socket has one kernel stamp, that of its last segment. What the read's last segment has completed arrived
at the stamp; what else the read brought arrived before, and after the socket was last seen empty.
"""

from typing import Self


class Arrival(int):
    """An arrival that is known as an interval; as a number its later end, in ns. An exact arrival is a plain int.

    Arithmetic gives plain ints: hand an arrival on as it is.
    """

    #: The arrival may be earlier than the number by up to this.
    uncertain_ns: int
    #: Of bytes that may hold several messages: the arrival of a message that ends where they end.
    end: int | None

    @classmethod
    def within(cls, latest_ns: int, uncertain_ns: int, end: int | None = None) -> Self:
        """Return an arrival in (latest - uncertain, latest]."""
        arrival = cls(latest_ns)
        arrival.uncertain_ns, arrival.end = uncertain_ns, end
        return arrival


def arrival(latest_ns: int, uncertain_ns: int) -> int:
    """Return an arrival: a plain int where it is exact."""
    return Arrival.within(latest_ns, uncertain_ns) if uncertain_ns else latest_ns


def uncertain_ns(arrival_ns: int) -> int:
    """Return by how much earlier something may have arrived."""
    return arrival_ns.uncertain_ns if isinstance(arrival_ns, Arrival) else 0


def end_of(arrival_ns: int) -> int:
    """Return the arrival of a message that ends where the bytes of this arrival end."""
    if isinstance(arrival_ns, Arrival) and arrival_ns.end is not None:
        return arrival_ns.end
    return arrival_ns
