"""Find the expected deliveries that arrived after a later event of the same publisher."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.ledger.marks import Marks
from analysis.ledger.windows import Flags
from analysis.loading.lookup import Places, grouping
from analysis.loading.run import Ints, RowGroup, Run, ints
from analysis.loading.slices import in_turn

#: Maximum number of (publisher, subscription) pairs whose highest sequence so far is kept in an array (8 bytes each).
_STREAMS_MAX = 64_000_000
_NONE = np.empty(0, dtype=np.int64)


class Deliveries(NamedTuple):
    """Some deliveries, each named by its event's publisher and sequence and by its subscription."""

    publisher: Ints
    sequence: Ints
    subscription: Ints


@dataclass(frozen=True)
class _Rows:
    """Expected deliveries of a row group, in the order of the file.

    If ``grouped``, they are grouped by stream (a pair of subscription and publisher), and only the deliveries within a
    stream are in the order of the file.
    """

    stream: Ints
    publisher: Ints
    sequence: Ints
    subscription: Ints
    grouped: bool

    def taken(self, rows: Ints, *, grouped: bool = False) -> "_Rows":
        """Return the chosen rows."""
        return _Rows(
            self.stream[rows], self.publisher[rows], self.sequence[rows], self.subscription[rows], grouped
        )


def find_reordered(run: Run, expected_rows: Marks, publishers: Ints, subscriptions: Ints) -> Deliveries:
    """Return the expected deliveries that arrived at a subscription after a later event of the same publisher.

    The order of the rows in the file decides. Arrival times would not do, because frames of one read share a time.
    ``publishers`` are all publishers with events, and ``subscriptions`` all that were ever present; both are ascending.
    """
    people, senders = Places(subscriptions), Places(publishers)
    found: list[Deliveries] = [Deliveries(_NONE, _NONE, _NONE)]

    def read(group: RowGroup) -> _Rows:
        names = ("publisher", "sequence", "subscription")
        _, table = run.deliveries_in(names, group=group)
        publisher, sequence, subscription = (ints(table, name) for name in names)
        wanted = expected_rows.of(group)
        if not wanted.all():
            publisher, sequence, subscription = publisher[wanted], sequence[wanted], subscription[wanted]
        of_publisher, of_subscription = senders.of(publisher), people.of(subscription)
        stream = of_subscription * len(senders) + of_publisher
        rows = _Rows(stream, publisher, sequence, subscription, grouped=False)
        if _rising(of_publisher, sequence):
            return rows
        return rows.taken(grouping(of_subscription, of_publisher), grouped=True)

    groups = [group for group in run.row_groups if expected_rows.some(group)]
    streams = len(people) * len(senders)
    known = None
    if streams > _STREAMS_MAX:
        # There are too many possible streams (pairs of subscription and publisher) for an array. Number only those that
        # occur.
        known = np.unique(
            np.concatenate([_NONE, *in_turn(lambda group: np.unique(read(group).stream), groups)])
        )
        streams = len(known)
    highest = np.full(streams, -1, dtype=np.int64)
    for rows in in_turn(read, groups):
        stream = rows.stream if known is None else np.searchsorted(known, rows.stream)
        if not rows.grouped:
            if not (rows.sequence < highest[stream]).any():
                # The rows are in ascending order of sequence. If several belong to one stream (a pair of subscription
                # and publisher), numpy keeps the last assigned value, which here is the highest sequence.
                highest[stream] = rows.sequence
                continue
            order = np.argsort(stream, kind="stable")
            rows, stream = rows.taken(order), stream[order]
        late = _late(stream, rows.sequence, highest)
        if late.any():
            found.append(Deliveries(rows.publisher[late], rows.sequence[late], rows.subscription[late]))
    return Deliveries(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def _rising(publisher: Ints, sequence: Ints) -> bool:
    """Return True if each publisher's sequence numbers never decrease, taking all its subscribers together.

    Most row groups pass this check. It is much quicker than checking each pair of subscription and publisher.
    """
    order = grouping(publisher)
    falls = sequence[order][1:] < sequence[order][:-1]
    if not falls.any():
        return True
    publisher = publisher[order]
    return not bool((falls & (publisher[1:] == publisher[:-1])).any())


def _late(stream: Ints, sequence: Ints, highest: Ints) -> Flags:
    """Mark the rows that arrived after a row of the same stream with a higher sequence.

    A stream is a pair of subscription and publisher. Updates ``highest``, the highest sequence of each stream so far.
    The rows must be grouped by ``stream``.
    """
    starts = np.r_[True, stream[1:] != stream[:-1]]
    begins = np.flatnonzero(starts)
    # One running maximum serves all streams: first raise each stream's numbers above those of all earlier streams.
    lift = (np.cumsum(starts) - 1) * (int(sequence.max()) + 1)
    running = np.maximum(np.maximum.accumulate(sequence + lift) - lift, highest[stream])
    ends = np.r_[begins[1:], len(stream)] - 1
    highest[stream[ends]] = running[ends]
    return np.asarray(sequence < running, dtype=bool)
