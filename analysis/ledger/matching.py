"""Match deliveries to expected pairs of event and subscription, in slices of intended time.

A slice holds the deliveries of all events whose intended time is in one time window. All rows of an event share its
intended time, so each event is matched within one slice. The order of a subscription's rows concerns several events.
It is checked afterwards, in file order.

A row is a row of deliveries.parquet. It belongs to its subscription, or to the group if the subscription is shared (see
`analysis.ledger.receivers`). A pair is an event and a subscription. A segment of presence is a period in which one
subscription was in one state, such as ready or in reconnect (see `analysis.ledger.windows`). A rank is a place in the
order in which the subscribers received an event: the first, median, 99th percentile or last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from analysis.ledger.events import Events, Reach
from analysis.ledger.marks import Marks
from analysis.ledger.ranks import RANKS, distinct, ranks
from analysis.ledger.windows import Flags, Segments
from analysis.loading.doubts import Doubts, Off
from analysis.loading.lookup import EventPlaces, Places
from analysis.loading.pieces import in_windows
from analysis.loading.run import Ints, Run, Window, ints
from analysis.loading.slices import cut_by_weight

_NONE = np.empty(0, dtype=np.int64)
_Pairs = tuple[Ints, Ints]


@dataclass(frozen=True)
class Through:
    """For each segment that ended with a broken connection: the last event that arrived from each publisher.

    A segment is a period in which one subscription was in one state. The last event is kept for each publisher, because
    events of different publishers travel on different connections and may overtake each other.
    """

    #: `pair` holds a segment and a publisher, packed into one number by `key`, in ascending order. `sent_ns` holds the
    #: sending time of the last event of each pair. Segments of the members of shared subscriptions are numbered last.
    pair: Ints
    sent_ns: Ints

    @classmethod
    def of(cls, pairs: list[Ints], sent_ns: list[Ints]) -> Self:
        """Keep, of events that arrived, the latest sending time of each publisher in each segment.

        Each array in ``pairs`` holds the events' segments and publishers, packed by `key`. ``sent_ns`` holds their
        sending times in arrays of the same lengths.
        """
        if not pairs:
            return cls(_NONE, _NONE)
        pair, sent = np.concatenate(pairs), np.concatenate(sent_ns)
        order = np.lexsort((sent, pair))
        pair, sent = pair[order], sent[order]
        last = np.r_[pair[1:] != pair[:-1], True] if len(pair) else np.zeros(0, dtype=bool)
        return cls(pair[last], sent[last])

    @classmethod
    def joined(cls, parts: Sequence["Through"]) -> Self:
        """Join the results of several time windows: keep the latest sending time of each publisher in each segment."""
        return cls.of([part.pair for part in parts], [part.sent_ns for part in parts])

    def last_ns(self, segment: int, publisher: Ints) -> Ints:
        """Return for each publisher the sending time of its last event that arrived in a segment.

        A segment is a period in which one subscription was in one state, such as ready. The time is -1 for a publisher
        of which no event arrived.
        """
        if not len(self.pair):
            return np.full(len(publisher), -1, dtype=np.int64)
        wanted = self.key(segment, publisher)
        place = np.minimum(np.searchsorted(self.pair, wanted), len(self.pair) - 1)
        return np.where(self.pair[place] == wanted, self.sent_ns[place], -1)

    @staticmethod
    def key(segment: "Ints | int", publisher: Ints) -> Ints:
        """Pack a segment and a publisher number (at most 31 bits) into one number."""
        return (np.asarray(segment, dtype=np.int64) << 32) | publisher


@dataclass
class Found:
    """The result of matching the deliveries of the events due in a time window to their expected pairs."""

    places: EventPlaces
    #: For each event: the number of expected deliveries that arrived (`arrived`), how many of these were late (`late`),
    #: and the latencies at the first, median, 99th percentile and last subscriber (`ranks_ns`, keyed by `RANKS`).
    arrived: Ints
    late: Ints
    ranks_ns: dict[str, Ints]
    #: Lowest and highest possible values of `late` and `ranks_ns`: some arrival times are only known to lie in an
    #: interval. If all arrival times are exact, these are the same arrays as `late` and `ranks_ns`.
    late_least: Ints
    late_most: Ints
    ranks_low_ns: dict[str, Ints]
    ranks_high_ns: dict[str, Ints]
    #: `arrived` and `late` by subscription: one entry for each subscription ever present, in ascending order.
    arrived_by_subscription: Ints
    late_by_subscription: Ints
    #: The rows of the file that are the first delivery of an expected event at a subscription.
    expected_rows: Marks
    #: (event, subscription) of second and later deliveries of an event at a subscription. Event -1 stands for all
    #: events that are missing from the record.
    duplicates: _Pairs = (_NONE, _NONE)
    #: For events that did not reach every subscription: (event, subscription) of the deliveries that did arrive.
    incomplete: _Pairs = (_NONE, _NONE)
    #: True if all arrivals are exact.
    exact: bool = True
    through: Through = field(default_factory=lambda: Through.of([], []))
    rows: int = 0
    not_acknowledged: int = 0
    outside_live_window: int = 0
    unrecorded: int = 0


@dataclass
class _Slice:
    """The result of matching one slice of the deliveries.

    The fields from `row` to `off` are arrays with one entry for each matched row.
    """

    rows: int
    duplicates: _Pairs
    not_acknowledged: int
    outside_live_window: int
    unrecorded: int
    row: Ints
    event: Ints
    #: The receiver of the row (`subscription`), and the subscription at which it arrived (`member`). The two differ if
    #: the receiver is a shared subscription.
    subscription: Ints
    member: Ints
    segment: Ints
    latency_ns: Ints
    off: Off
    #: Events that arrived at any subscription (`events`). For each event: its number of deliveries (`counts`) and its
    #: latencies at the first, median, 99th percentile and last subscriber (`ranks_ns`, keyed by `RANKS`).
    events: Ints
    counts: Ints
    ranks_ns: dict[str, Ints]
    #: `ranks_ns` computed from the lowest and from the highest possible latencies; None if all arrival times are exact.
    ranks_low_ns: dict[str, Ints] | None
    ranks_high_ns: dict[str, Ints] | None


def match(
    run: Run,
    window: Window,
    events: Events,
    present: Segments,
    reach: Reach,
    expected: Ints,
    marks: Marks | None = None,
) -> Found:
    """Match the deliveries of a time window to the expected pairs; mark the rows of expected pairs in ``marks``."""
    matcher = _Matcher(run, events, present, reach)
    count, people = len(events.key), Places(np.unique(present.subscription))
    late = np.zeros(count, dtype=np.int64)
    ranks_ns = {name: np.zeros(count, dtype=np.int64) for name in RANKS}
    exact = not matcher.doubts.columns
    found = Found(
        matcher.places,
        np.zeros(count, dtype=np.int64),
        late,
        ranks_ns,
        late if exact else late.copy(),
        late if exact else late.copy(),
        ranks_ns if exact else {name: values.copy() for name, values in ranks_ns.items()},
        ranks_ns if exact else {name: values.copy() for name, values in ranks_ns.items()},
        np.zeros(len(people), dtype=np.int64),
        np.zeros(len(people), dtype=np.int64),
        Marks(run.row_groups) if marks is None else marks,
        exact=exact,
    )
    duplicates, incomplete = [found.duplicates], [found.incomplete]
    through: list[Through] = []
    windows = cut_by_weight(window, events.intended_ns, expected)
    for part in in_windows(run, matcher.columns, windows, matcher.match):
        found.rows += part.rows
        found.not_acknowledged += part.not_acknowledged
        found.outside_live_window += part.outside_live_window
        found.unrecorded += part.unrecorded
        duplicates.append(part.duplicates)
        found.expected_rows.add(part.row)
        found.arrived[part.events] += part.counts
        for name, values in part.ranks_ns.items():
            found.ranks_ns[name][part.events] = values
        if not exact:
            for end, ranks in (
                (found.ranks_low_ns, part.ranks_low_ns),
                (found.ranks_high_ns, part.ranks_high_ns),
            ):
                for name, values in (ranks or part.ranks_ns).items():
                    end[name][part.events] = values
        person = people.of(part.subscription)
        found.arrived_by_subscription += np.bincount(person, minlength=len(people))
        if run.late_after_ns is not None:
            is_late = part.latency_ns > run.late_after_ns
            if is_late.any():
                np.add.at(found.late, part.event[is_late], 1)
                found.late_by_subscription += np.bincount(person[is_late], minlength=len(people))
            if not exact:
                early_ns, late_ns = (0 if off is None else off for off in part.off)
                at_least = part.latency_ns - early_ns > run.late_after_ns
                at_most = part.latency_ns + late_ns > run.late_after_ns
                np.add.at(found.late_least, part.event[at_least], 1)
                np.add.at(found.late_most, part.event[at_most], 1)
        broken = present.broken[part.segment]
        if broken.any():
            event = part.event[broken]
            pair = Through.key(part.segment[broken], events.publisher[event])
            through.append(Through.of([pair], [events.sent_ns[event]]))
        if present.members is not None:
            through.append(_through_members(present, present.members, events, part))
        missing = np.zeros(count, dtype=bool)
        missing[part.events] = part.counts < expected[part.events]
        if missing.any():
            those = missing[part.event]
            incomplete.append((part.event[those], part.subscription[those]))
    found.through = Through.joined(through)
    found.duplicates, found.incomplete = (
        (np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs]))
        for pairs in (duplicates, incomplete)
    )
    return found


def _through_members(present: Segments, members: Segments, events: Events, part: _Slice) -> Through:
    """Return each publisher's last event that arrived at a member of a shared subscription, for each segment.

    Only segments (periods in one state) that a broken connection ended are included.
    """
    sent_ns = events.sent_ns[part.event]
    segment = members.at(part.member, sent_ns)
    broken = segment >= 0
    broken[broken] = members.broken[segment[broken]]
    pair = Through.key(len(present) + segment[broken], events.publisher[part.event[broken]])
    return Through.of([pair], [sent_ns[broken]])


class _Matcher:
    """Matches the deliveries of a slice to expected pairs. Several threads may use it at once."""

    def __init__(self, run: Run, events: Events, present: Segments, reach: Reach) -> None:
        self._run, self._events, self._present = run, events, present
        self.doubts = Doubts(run)
        self.places = EventPlaces(events.key)
        width = len(present.patterns) + 1
        pairs = [
            channel * width + np.unique(present.pattern[members]) for channel, (_, members) in reach.items()
        ]
        #: Pairs of channel and pattern that match.
        self._matching = Places(np.sort(np.concatenate(pairs)) if pairs else _NONE)
        self._pattern = np.append(present.pattern, len(present.patterns))

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of deliveries.parquet that `match` needs."""
        return ("publisher", "sequence", "subscription", "arrival_ns", *self.doubts.columns)

    def match(self, window: Window, row: Ints, at: Mapping[str, Ints]) -> _Slice:
        """Match delivery rows with the expected deliveries.

        ``row`` has the positions of the rows in deliveries.parquet, and ``at`` their `columns` by name.
        """
        events = self._events
        publisher, sequence, member, arrival_ns = (
            at[name] for name in ("publisher", "sequence", "subscription", "arrival_ns")
        )
        subscription = self._present.receivers.of(member)
        off = self.doubts.of(at).headline
        place = self.places.of(publisher, sequence)
        first = self._first(window, place, publisher, sequence, subscription)
        known = place >= 0
        accepted = first & known
        accepted[accepted] = events.accepted[place[accepted]]
        again = ~first
        duplicates = (place[again], subscription[again])
        unrecorded = int(np.count_nonzero(first & ~known))
        not_acknowledged = int(np.count_nonzero(first & known & ~accepted))
        if not accepted.all():
            row, place, subscription, member, arrival_ns = (
                a[accepted] for a in (row, place, subscription, member, arrival_ns)
            )
            off = off.only(accepted)
        segment = self._segment(place, subscription)
        there = segment >= 0
        if not there.all():
            row, place, subscription, member, segment, arrival_ns = (
                a[there] for a in (row, place, subscription, member, segment, arrival_ns)
            )
            off = off.only(there)
        latency_ns = arrival_ns - events.intended_ns[place]
        return _Slice(
            len(first),
            duplicates,
            not_acknowledged,
            int(np.count_nonzero(~there)),
            unrecorded,
            row,
            place,
            subscription,
            member,
            segment,
            latency_ns,
            off,
            *ranks(place, latency_ns),
            None if off.early_ns is None else ranks(place, latency_ns - off.early_ns)[2],
            None if off.late_ns is None else ranks(place, latency_ns + off.late_ns)[2],
        )

    def _first(
        self, window: Window, place: Ints, publisher: Ints, sequence: Ints, subscription: Ints
    ) -> Flags:
        """Mark the rows that are the earliest delivery of their event at their subscription."""
        if not len(place):
            return np.zeros(0, dtype=bool)
        if place.min() >= 0 and subscription.min() >= 0 and distinct(place, subscription):
            return np.ones(len(place), dtype=bool)
        names = ("arrival_ns", "read_ns")
        _, table = self._run.deliveries_in(names, window)
        arrival_ns, read_ns = (ints(table, name) for name in names)
        order = np.lexsort((read_ns, arrival_ns, subscription, sequence, publisher))
        begins = np.zeros(len(order), dtype=bool)
        begins[0] = True
        for key in (publisher, sequence, subscription):
            begins[1:] |= key[order[1:]] != key[order[:-1]]
        first = np.zeros(len(order), dtype=bool)
        first[order[begins]] = True
        return first

    def _segment(self, event: Ints, subscription: Ints) -> Ints:
        """Return the segment in which each (event, subscription) pair lies, or -1.

        A pair has no segment if the subscription was not present, or if its pattern does not match the event's channel.
        """
        present, sent_ns = self._present, self._events.sent_ns[event]
        if not len(event):
            return _NONE
        # Most subscriptions have one segment that lasts from the first of these events to the last. For them, a table
        # lookup is enough.
        lasting = np.flatnonzero((present.start_ns <= sent_ns.min()) & (present.end_ns > sent_ns.max()))
        place = Places(present.subscription[lasting]).of(subscription)
        segment = np.append(lasting, -1)[place]
        rest = np.flatnonzero(place < 0)
        if len(rest):
            segment[rest] = present.at(subscription[rest], sent_ns[rest])
        # For a row outside any segment, index -1 selects the last entry of `_pattern`. This entry stands for no pattern
        # and matches no channel.
        pattern = self._pattern[segment]
        matches = self._matching.of(self._events.channel[event] * (len(present.patterns) + 1) + pattern) >= 0
        return segment if matches.all() else np.where(matches, segment, -1)
