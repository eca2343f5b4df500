"""Find the events scheduled in a time window, and the subscriptions that each event should have reached.

A segment is a stretch of time in which one subscription was in one state, such as ready or in reconnect (see
`analysis.ledger.windows`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.ledger.windows import Flags, Patterns, Segments
from analysis.loading.columns import taken, unanswering
from analysis.loading.run import Ints, Run, Window, codes, ints

_COLUMNS = ("publisher", "sequence", "channel", "intended_ns", "sent_ns", "acked_ns", "status")

_ARRAYS = ("key", "channel", "sent_ns", "acked_ns", "intended_ns", "accepted")
#: Channel code → (rows of its accepted events by sending time, segments whose pattern matches the channel).
Reach = dict[int, tuple[Ints, Ints]]


@dataclass(frozen=True)
class Events:
    """The events scheduled in a time window: arrays of equal length, sorted by key (``publisher << 32 | sequence``)."""

    key: Ints
    channel: Ints
    channels: list[str | None]
    sent_ns: Ints
    #: Time at which the publish was acknowledged, or -1 if it never was.
    acked_ns: Ints
    intended_ns: Ints
    #: True for events that should arrive: accepted, or sent to a service that does not acknowledge publishes.
    accepted: Flags
    #: True if the service acknowledges publishes, so that `accepted` follows from its answers.
    answered: bool

    @property
    def publisher(self) -> Ints:
        """Publisher of each event."""
        return self.key >> 32

    def taken(self, chosen: Any) -> "Events":
        """Return the events at ``chosen``, a mask or ascending indices, so that the result is sorted too."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _ARRAYS})

    @classmethod
    def joined(cls, parts: "Sequence[Events]") -> "Events":
        """Return the events of all ``parts``, unsorted; all parts must use the same channel codes."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
        }
        return replace(parts[0], **arrays, answered=all(part.answered for part in parts))


def reach_of(events: Events, present: Segments) -> Reach:
    """Map each channel's code to the channel's accepted events, and to the segments of subscriptions that match it."""
    by_pattern = dict(by_code(present.pattern, len(present.patterns)))
    reach: Reach = {}
    patterns = Patterns(present.patterns)
    for channel, rows in by_code(np.where(events.accepted, events.channel, -1), len(events.channels)):
        name = events.channels[channel]
        codes_of = [] if name is None else patterns.matching(name)
        found = [by_pattern[code] for code in codes_of if code in by_pattern]
        members = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        reach[channel] = (rows[np.argsort(events.sent_ns[rows], kind="stable")], members)
    return reach


def expected_of(events: Events, present: Segments, reach: Reach) -> tuple[Ints, Ints]:
    """Return how many subscriptions each event should reach, and how many events should reach each segment."""
    by_event = np.zeros(len(events.key), dtype=np.int64)
    by_segment = np.zeros(len(present), dtype=np.int64)
    for rows, members in reach.values():
        sent_ns = events.sent_ns[rows]
        begins = np.searchsorted(sent_ns, present.start_ns[members], side="left")
        ends = np.searchsorted(sent_ns, present.end_ns[members], side="left")
        steps = np.bincount(begins, minlength=len(rows) + 1) - np.bincount(ends, minlength=len(rows) + 1)
        by_event[rows] += np.cumsum(steps)[:-1]
        by_segment[members] += ends - begins
    return by_event, by_segment


def events_in(run: Run, window: Window, channels: Sequence[str | None] | None = None) -> Events:
    """Return the events scheduled in a time window; ``channels`` are the channels by code, if already known."""
    table = run.table("events", _COLUMNS, window)
    key = _key(ints(table, "publisher"), ints(table, "sequence"))
    order = np.argsort(key, kind="stable")
    channel, names = numbered(table, channels)
    return Events(
        key[order],
        channel[order],
        names,
        ints(table, "sent_ns")[order],
        ints(table, "acked_ns")[order],
        ints(table, "intended_ns")[order],
        taken(table)[order],
        not unanswering(table),
    )


def numbered(table: pa.Table, channels: Sequence[str | None] | None) -> tuple[Ints, list[str | None]]:
    """Return the channel code of each event, and the channel that each code stands for.

    A code is an index into ``channels``, which must have all channels of the table. If ``channels`` is None, codes are
    numbered in the order of the table.
    """
    channel, names = codes(table, "channel")
    if channels is None:
        return channel, names
    number = {name: code for code, name in enumerate(channels)}
    known = np.array([number[name] for name in names], dtype=np.int64)
    return known[channel] if len(names) else channel, list(channels)


def channels_of(run: Run, window: Window, cut: Sequence[Window]) -> list[str | None] | None:
    """Return the distinct channels of the events scheduled in a time window, in file order.

    The list gives all parts of the window (``cut``) the same channel codes. Returns None if there is only one part,
    which needs no such list.
    """
    if len(cut) == 1:
        return None
    found: dict[str | None, None] = {}
    for group in run.event_groups:
        if group.overlaps(window):
            found |= dict.fromkeys(codes(run.events_of(("channel",), group, window), "channel")[1])
    return list(found)


def _key(publisher: Ints, sequence: Ints) -> Ints:
    """Pack an event into one number: publishers have at most 31 bits, and sequences stay below 2**32."""
    return (publisher << 32) | sequence


def by_code(values: Ints, count: int) -> Iterator[tuple[int, Ints]]:
    """Yield (code, rows with that code) for each code from 0 to count-1 that occurs."""
    order = np.argsort(values, kind="stable")
    edges = np.searchsorted(values[order], np.arange(count + 1))
    for code in range(count):
        if edges[code] < edges[code + 1]:
            yield code, order[edges[code] : edges[code + 1]]
