"""Reactions: the chain request → delivery → reply → delivery, from the record, which names each reply's cause.

A request is an event of the measure phase for a subscription whose client replies to it. Its replies count whenever
they were due, even after the measure phase, in the drain. A request that was lost caused nothing: its replies are
neither due nor lost, and it counts as *uncaused*.

A reply that arrived is timed from the intended time of its request: the first one's latency is the time to first reply.
A gap is the time between two arrivals of replies to the same request at the same subscription, in the order of arrival.
A reply is in disorder if it was read after a later reply to the same request.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.figures.bounds import Bounded
from analysis.ledger.events import Events
from analysis.ledger.losses import LOST
from analysis.ledger.marks import Marks
from analysis.ledger.reconcile import pairs_of
from analysis.loading.columns import taken, unanswering
from analysis.loading.doubts import Doubts
from analysis.loading.lookup import EventPlaces
from analysis.loading.run import Ints, Run, Window, codes, ints
from analysis.loading.slices import all_stretches

Flags = npt.NDArray[np.bool_]
_CAUSE: Final = ("cause_publisher", "cause_sequence", "cause_subscription")
_TIMES: Final = ("intended_ns", "sent_ns", "acked_ns", "slot_ns", "connection_wait_ns")
_NONE: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Arrivals:
    """The deliveries of replies that were expected and arrived, without duplicates, as arrays of equal length."""

    #: Index of the reply in `Reactions`.
    reply: Ints
    subscription: Ints
    arrival_ns: Ints
    #: Row number in deliveries.parquet. The rows of a client are in the order in which it read its messages.
    row: Ints
    disordered: Flags


@dataclass(frozen=True, eq=False)
class Reactions:
    """The recorded replies to requests of the measure phase, as arrays.

    Most arrays have one entry per reply, sorted by publisher and sequence.
    """

    publisher: Ints
    sequence: Ints
    cause_publisher: Ints
    cause_sequence: Ints
    cause_subscription: Ints
    #: Index of the reply among the replies to the same request, from 0.
    number: Ints
    #: Intended time of the request.
    requested_ns: Ints
    intended_ns: Ints
    accepted: Flags
    #: True for a reply that was due only after the end of the run.
    cut_off: Flags
    #: Deliveries of each reply: those expected, those that arrived, those lost, and those that arrived in disorder.
    expected: Ints
    arrived: Ints
    lost: Ints
    disordered: Ints
    arrivals: Arrivals
    own_lateness_ns: Ints
    latency: Bounded
    first: Bounded
    gap: Bounded
    #: Deliveries of requests, as the arrays (publisher, sequence, subscription). `due` is the number of replies due to
    #: each delivery.
    delivered: tuple[Ints, Ints, Ints]
    due: Ints
    #: Subscriptions, ascending, whose clients reply to deliveries because the scenario says so; subscriptions to whose
    #: deliveries user code replies are left out.
    responding: Ints

    @property
    def arrival_ns(self) -> Ints:
        """The first arrival of each reply at any subscription, or -1 if it arrived nowhere."""
        latest = np.iinfo(np.int64).max
        first = np.full(len(self.publisher), latest, dtype=np.int64)
        np.minimum.at(first, self.arrivals.reply, self.arrivals.arrival_ns)
        return np.where(first == latest, -1, first)


@lru_cache(maxsize=1)
def reactions(run: Run) -> Reactions | None:
    """Return the reactions of a run, or None if no client replies; the last result is cached for the plots."""
    window = run.measure
    if window is None or window.seconds <= 0:
        return None
    table = run.table("subscriptions", ("subscription", "replies"))
    replies_of = ints(table, "replies")
    responding, first = np.unique(ints(table, "subscription")[replies_of >= 0], return_index=True)
    wanted = replies_of[replies_of >= 0][first]
    if not len(responding) and (run.lacks("cause_publisher") or _uncaused(run)):
        return None
    return _Chain(run, window, responding, wanted).result()


def _uncaused(run: Run) -> bool:
    """Return True if no event is on record as a reply, by reading the events and not only the file's statistics."""
    for stretch in all_stretches(run):
        cause = run.table("events", ("cause_publisher",), stretch).column("cause_publisher")
        if cause.null_count < len(cause):
            return False
    return True


def _packed(publisher: Ints, sequence: Ints, subscription: Ints) -> Ints:
    """Return rows of two numbers: the event (publisher and sequence packed into one number), and the subscription."""
    return np.stack(((publisher << 32) | sequence, subscription), axis=1)


class _Chain:
    """Computes the reactions to the requests that were due in a time window."""

    def __init__(self, run: Run, window: Window, responding: Ints, wanted: Ints) -> None:
        self._run, self._window = run, window
        self._responding, self._wanted = responding, wanted

    def result(self) -> Reactions:
        run = self._run
        names = ("publisher", "sequence", "channel", "status", *_TIMES, *_CAUSE)
        table = run.table("events", names)
        at = {name: ints(table, name) for name in names if name not in ("channel", "status")}
        key = (at["publisher"] << 32) | at["sequence"]
        requested_ns = self._requested_ns(key, at)
        chosen = np.flatnonzero(requested_ns >= 0)
        chosen = chosen[np.argsort(key[chosen], kind="stable")]
        channel, channels = codes(table, "channel")
        accepted = taken(table)[chosen]
        events = Events(
            key[chosen],
            channel[chosen],
            channels,
            at["sent_ns"][chosen],
            at["acked_ns"][chosen],
            at["intended_ns"][chosen],
            accepted,
            not unanswering(table),
        )
        one = {name: values[chosen] for name, values in at.items()}
        asked_ns = requested_ns[chosen]
        reaction, number = _numbered(one)
        status, statuses = codes(table, "status")
        unsent = np.isin(status[chosen], [statuses.index("unsent")] if "unsent" in statuses else [])
        cut_off = unsent & (one["intended_ns"] >= self._end_ns)
        expected, arrived, lost, rows = self._deliveries(events)
        arrivals, latency, first, gap = self._times(events, rows, asked_ns, reaction, number)
        sent = one["sent_ns"] >= 0
        ready_ns = one["sent_ns"] - np.maximum(one["connection_wait_ns"], 0)
        delivered, due = self._requests(one)
        return Reactions(
            publisher=one["publisher"],
            sequence=one["sequence"],
            cause_publisher=one["cause_publisher"],
            cause_sequence=one["cause_sequence"],
            cause_subscription=one["cause_subscription"],
            number=number,
            requested_ns=asked_ns,
            intended_ns=one["intended_ns"],
            accepted=accepted,
            cut_off=cut_off,
            expected=expected,
            arrived=arrived,
            lost=lost,
            disordered=np.bincount(arrivals.reply[arrivals.disordered], minlength=len(events.key)),
            arrivals=arrivals,
            own_lateness_ns=(ready_ns - one["slot_ns"])[sent & (one["slot_ns"] >= 0)],
            latency=latency,
            first=first,
            gap=gap,
            delivered=delivered,
            due=due,
            responding=self._responding,
        )

    @property
    def _end_ns(self) -> int:
        """End of the last phase, up to which replies are due."""
        return max((end_ns for _, end_ns in self._run.phases.values() if end_ns is not None), default=2**62)

    def _requested_ns(self, key: Ints, at: dict[str, Ints]) -> Ints:
        """Return the due time (ns) of the request that caused each event, or -1 if there is none within `_window`."""
        order = np.argsort(key, kind="stable")
        place = EventPlaces(key[order]).of(at["cause_publisher"], at["cause_sequence"])
        place = np.where((at["cause_publisher"] >= 0) & (at["cause_sequence"] >= 0), place, -1)
        asked_ns = np.append(at["intended_ns"][order], -1)[place]
        inside = (asked_ns >= self._window.start_ns) & (asked_ns < self._window.end_ns)
        return np.where(inside, asked_ns, -1)

    def _deliveries(self, events: Events) -> tuple[Ints, Ints, Ints, Marks]:
        """Return each reply's counts of deliveries (expected, arrived, lost), and a mask of the rows that arrived."""
        run, count = self._run, len(events.key)
        if not count:
            return _NONE, _NONE, _NONE, Marks(run.row_groups)
        whole = Window(int(events.intended_ns.min()), int(events.intended_ns.max()) + 1)
        _, expected, _, found, losses = pairs_of(run, whole, events)
        return expected, found.arrived, losses.by_event[list(LOST)].sum(axis=0), found.expected_rows

    def _times(
        self, events: Events, rows: Marks, asked_ns: Ints, reaction: Ints, number: Ints
    ) -> tuple[Arrivals, Bounded, Bounded, Bounded]:
        doubts, places = Doubts(self._run), EventPlaces(events.key)
        names = tuple(dict.fromkeys(("publisher", "sequence", "subscription", "arrival_ns", *doubts.columns)))
        parts: dict[str, list[Ints]] = {name: [_NONE] for name in (*names, "row")}
        for group in self._run.row_groups:
            its = rows.of(group)
            if not its.any():
                continue
            position, table = self._run.deliveries_in(names, group=group)
            parts["row"].append(position[its])
            for name in names:
                parts[name].append(ints(table, name)[its])
        at = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        reply = places.of(at["publisher"], at["sequence"])
        off = doubts.of(at)
        headline, uncertain_ns = off.headline, off.queue.late_ns
        latency_ns = at["arrival_ns"] - asked_ns[reply]
        stream_of = grouped(reaction[reply], at["subscription"])
        order = np.lexsort((at["row"], at["arrival_ns"], stream_of))
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = stream_of[order][1:] != stream_of[order][:-1]
        first = order[begins]
        later, earlier = order[1:][~begins[1:]], order[:-1][~begins[1:]]
        gap_ns = at["arrival_ns"][later] - at["arrival_ns"][earlier]
        # A gap is the difference of two arrivals that the same worker recorded, so the error of its clock cancels.
        early_ns, late_ns = (
            (None, None) if uncertain_ns is None else (uncertain_ns[later], uncertain_ns[earlier])
        )
        known, one = doubts.known, headline.only(first)
        return (
            Arrivals(
                reply,
                at["subscription"],
                at["arrival_ns"],
                at["row"],
                _disordered(stream_of, at["row"], number[reply]),
            ),
            Bounded.of(latency_ns, headline.early_ns, headline.late_ns, known),
            Bounded.of(latency_ns[first], one.early_ns, one.late_ns, known),
            Bounded.of(gap_ns, early_ns, late_ns, known),
        )

    def _requests(self, one: dict[str, Ints]) -> tuple[tuple[Ints, Ints, Ints], Ints]:
        """Return the deliveries of requests that were due in `_window`, each once, and the replies due to each.

        The scenario says how many replies are due to a delivery. If user code answers deliveries, the number due is the
        number of replies on record.
        """
        names = ("publisher", "sequence", "subscription")
        parts: list[Ints] = [np.empty((0, 2), dtype=np.int64)]
        for group in self._run.row_groups:
            if not len(self._responding) or not group.overlaps(self._window):
                continue
            _, table = self._run.deliveries_in((*names, "intended_ns"), group=group)
            publisher, sequence, subscription = (ints(table, name) for name in names)
            intended_ns = ints(table, "intended_ns")
            its = np.isin(subscription, self._responding)
            its &= (intended_ns >= self._window.start_ns) & (intended_ns < self._window.end_ns)
            parts.append(_packed(publisher[its], sequence[its], subscription[its]))
        pairs = np.unique(np.concatenate(parts), axis=0)
        due = np.append(self._wanted, 0)[np.searchsorted(self._responding, pairs[:, 1])]
        own = ~np.isin(one["cause_subscription"], self._responding)
        if own.any():
            more, made = np.unique(_packed(*(one[name][own] for name in _CAUSE)), axis=0, return_counts=True)
            pairs, due = np.concatenate((pairs, more)), np.concatenate((due, made))
        return (pairs[:, 0] >> 32, pairs[:, 0] & 0xFFFFFFFF, pairs[:, 1]), due.astype(np.int64)


def _numbered(one: dict[str, Ints]) -> tuple[Ints, Ints]:
    """Return for each reply the index of the delivery that it answers, and its position among the delivery's replies.

    Both count from 0. The replies must be sorted by publisher and sequence.
    """
    if not len(one["publisher"]):
        return _NONE, _NONE
    reaction = grouped(*(one[name] for name in _CAUSE))
    order = np.argsort(reaction, kind="stable")
    sizes = np.bincount(reaction)
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return reaction, number


def grouped(*keys: Ints) -> Ints:
    """Return the number of each row's group, from 0 in the order of the keys; rows of a group agree in all keys."""
    order = np.lexsort(keys[::-1])
    begins = np.zeros(len(order), dtype=bool)
    for key in keys:
        begins[1:] |= key[order[1:]] != key[order[:-1]]
    group = np.empty(len(order), dtype=np.int64)
    # Number the sorted rows by a cumulative sum: this is several times as fast as `np.unique` of the rows.
    group[order] = np.cumsum(begins)
    return group


def _disordered(stream: Ints, row: Ints, number: Ints) -> Flags:
    """Return a mask of the rows that, in the same stream, come after a row with a higher number."""
    late = np.zeros(len(row), dtype=bool)
    if not len(row):
        return late
    order = np.lexsort((row, stream))
    # Add an offset to each stream's numbers, so that they exceed all numbers of earlier streams. A single running
    # maximum over all rows is then the highest number so far within each stream.
    value = stream[order] * (int(number.max()) + 1) + number[order]
    late[order] = value < np.maximum.accumulate(value)
    return late
