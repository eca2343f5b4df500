"""The events of a run and their outcomes (expected, arrived, late, latencies), in parts of limited size.

A part holds the events due in one stretch of time. A small run has one part, which stays in memory. A run with several
parts keeps up to `ROOM_BYTES` of them in memory and the rest in a temporary file, and reads one part at a time from it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from analysis.ledger.events import Events
from analysis.ledger.ranks import RANKS
from analysis.loading.room import Kept, Room
from analysis.loading.run import Ints

#: Maximum size, in bytes, of the parts kept in memory if a run has several parts.
ROOM_BYTES = 200_000_000
LOW, HIGH = "_low", "_high"
_EVENTS = ("key", "channel", "sent_ns", "acked_ns", "intended_ns", "accepted")


@dataclass(frozen=True, eq=False)
class Part:
    """Events due in one stretch of time, sorted by key, and the outcome of each."""

    events: Events
    #: Number of subscriptions that each event should have reached (`expected`), that it reached (`arrived`), and that
    #: it reached late (`late`).
    expected: Ints
    arrived: Ints
    late: Ints
    #: Least and greatest possible `late`, because some arrival times are only known to lie in an interval.
    late_least: Ints
    late_most: Ints
    #: Latencies from the intended time until an event's first, median, 99th percentile and last subscriber received it
    #: (see `ranks.RANKS`), over the expected deliveries that arrived; meaningless for events without such a
    #: delivery.
    ranks_ns: dict[str, Ints]
    #: Lowest and highest possible `ranks_ns`, because some arrival times are only known to lie in an interval. If all
    #: arrivals are exact, these are the same objects as `ranks_ns`.
    ranks_low_ns: dict[str, Ints]
    ranks_high_ns: dict[str, Ints]

    @classmethod
    def of(cls, events: Events, arrays: Mapping[str, Ints]) -> Self:
        """Return the part with these events, from the arrays by name that `Parts` stores with them."""

        def ranks(end: str) -> dict[str, Ints]:
            return {name: arrays[name + end] for name in RANKS}

        values = ranks("")
        late, exact = arrays["late"], "late_least" not in arrays
        return cls(
            events,
            arrays["expected"],
            arrays["arrived"],
            late,
            late if exact else arrays["late_least"],
            late if exact else arrays["late_most"],
            values,
            values if exact else ranks(LOW),
            values if exact else ranks(HIGH),
        )

    @classmethod
    def joined(cls, parts: "Parts") -> Self:
        """Return all parts as one, with the events sorted by key."""
        if len(parts) == 1:
            return cls.of(*parts[0])
        found = [parts[place] for place in range(len(parts))]
        events = Events.joined([events for events, _ in found])
        order = np.argsort(events.key, kind="stable")
        names = cls._names(found[0][1])
        arrays = {name: np.concatenate([arrays[name] for _, arrays in found])[order] for name in names}
        return cls.of(events.taken(order), arrays)

    @staticmethod
    def _names(arrays: Mapping[str, Ints]) -> list[str]:
        ranks = [name + end for end in ("", LOW, HIGH) for name in RANKS]
        return [
            name
            for name in ("expected", "arrived", "late", "late_least", "late_most", *ranks)
            if name in arrays
        ]


class Parts:
    """A growing list of parts, each as (events, arrays by name); an array need not have one entry per event."""

    def __init__(self, several: bool) -> None:
        """Create an empty list; if ``several`` is False, it holds only one part and keeps this part in memory."""
        self._room = Room(ROOM_BYTES) if several else None
        self._whole: list[tuple[Events, dict[str, Ints]]] = []
        self._kept: list[tuple[Events, dict[str, Kept]]] = []

    def add(self, events: Events, arrays: Mapping[str, Ints]) -> None:
        """Append a part; raises OSError if the temporary file cannot be written."""
        if self._room is None:
            self._whole.append((events, dict(arrays)))
            return
        columns = {name: np.asarray(getattr(events, name), dtype=np.int64) for name in _EVENTS}
        self._kept.append((events.taken(slice(0, 0)), self._room.put_all({**columns, **arrays})))

    def put(self, place: int, name: str, values: Ints) -> None:
        """Replace one array of the part with the number ``place``."""
        if self._room is None:
            self._whole[place][1][name] = values
        else:
            self._kept[place][1].update(self._room.put_all({name: values}))

    def __len__(self) -> int:
        """Return the number of parts."""
        return len(self._whole) or len(self._kept)

    def __getitem__(self, place: int) -> tuple[Events, dict[str, Ints]]:
        """Return the events and the arrays of a part."""
        if self._room is None:
            return self._whole[place]
        empty, kept = self._kept[place]
        arrays = self._room.get_all(kept)
        key, channel, sent_ns, acked_ns, intended_ns, accepted = (arrays.pop(name) for name in _EVENTS)
        events = Events(
            key,
            channel,
            empty.channels,
            sent_ns,
            acked_ns,
            intended_ns,
            accepted.astype(bool),
            empty.answered,
        )
        return events, arrays

    def __iter__(self) -> Iterator[Part]:
        """Yield the parts in order of time."""
        for place in range(len(self)):
            yield Part.of(*self[place])
