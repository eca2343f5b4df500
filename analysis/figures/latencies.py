"""Compute all latency figures of the summary and the plots in one pass over the deliveries.

Percentiles are of raw samples. A large run does not fit into memory, so deliveries are read in slices, each with the
events due in one stretch of time, and samples are kept in the smallest integer type that holds all of them. No sample
is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.figures.bands import by_second, joined
from analysis.figures.bounds import Bounded, Collector
from analysis.figures.event_channels import ChannelsOfEvents
from analysis.figures.groups import Group, Groups
from analysis.figures.samples import Store
from analysis.figures.shared_stamps import Shared, Stamps
from analysis.loading.doubts import Doubts, Off
from analysis.loading.lookup import Places
from analysis.loading.pieces import in_windows
from analysis.loading.room import Room
from analysis.loading.run import Ints, Run, Window, codes, ints
from analysis.loading.slices import cut_by_second

SECOND_NS = 1_000_000_000
#: The heatmap's grid: rows per decade of latency (`ROWS_A_DECADE`), number of decades from 1 ns up (`DECADES`), and
#: maximum number of columns (`COLUMNS_MAX`).
ROWS_A_DECADE = 60
DECADES = 13
COLUMNS_MAX = 240
_COLUMNS = (
    "worker",
    "subscription",
    "publisher",
    "sequence",
    "intended_ns",
    "sent_ns",
    "arrival_ns",
    "read_ns",
)
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """One kind of latency in the measure phase: its figures and its percentile curve.

    ``curve`` is (fractions of samples at or above each value, values). ``low`` and ``high`` are the values of the
    curves of the lowest and highest possible samples, or None if these equal the samples or are unknown.
    """

    figures: dict[str, Any]
    curve: tuple[Floats, Ints] | None
    low: Ints | None = None
    high: Ints | None = None

    @classmethod
    def of(cls, samples: Bounded) -> "Distribution":
        """Compute the figures and the curves from samples."""
        samples.foresee_curve()
        low, high = samples.curve_of(samples.low), samples.curve_of(samples.high)
        return cls(samples.percentiles(), samples.curve(), low, high)


@dataclass(frozen=True)
class Heat:
    """Number of deliveries in each cell of time (columns) and latency (rows, from 1 ns up)."""

    edges_ns: Ints
    counts: npt.NDArray[np.int64]
    lowest_ns: int
    highest_ns: int
    #: Number of latencies of zero or less, which a logarithmic axis cannot show.
    left_out: int


@dataclass(frozen=True)
class Latencies:
    """All latency figures of a run."""

    #: Latencies in the measure phase: arrival − intended (`headline`), arrival − sent (`service`), and read − arrival
    #: (`queue`). `queue` and `stamps_shared` leave out clients that read slowly on purpose.
    headline: Distribution
    service: Distribution
    queue: Distribution
    #: `service_unknown` is the number of deliveries with unknown sending time. `stamps_shared` is the share of
    #: deliveries whose kernel stamp may belong to a later message.
    service_unknown: int
    stamps_shared: float | None
    by_channel: list[Group]
    channels: list[str | None]
    by_worker: list[Group]
    #: Figures by group of clients (a group of the scenario); `groups` has the groups' names.
    by_group: list[Group]
    groups: list[str | None]
    #: Seconds of all phases, counted from the first publish, in which events were due; `bands_ns` maps a percentile to
    #: its latency in each of these seconds.
    seconds: Ints
    bands_ns: dict[int, Ints]
    #: Number of arrivals in each second since the first publish, from second 0 on. `last_arrival_ns` is the time of the
    #: last arrival.
    arrivals: Ints
    last_arrival_ns: int
    heat: Heat | None


#: The delivery columns (end, begin) of each kind of latency; a latency is end minus begin.
KINDS = {
    "delivery.latency": ("arrival_ns", "intended_ns"),
    "delivery.service": ("arrival_ns", "sent_ns"),
    "delivery.queue": ("read_ns", "arrival_ns"),
}


def samples(run: Run, window: Window, kind: str) -> Bounded:
    """Return the latencies (ns) of one kind for events due in a time window; omit deliveries without a start time."""
    end, begin = KINDS[kind]
    doubts = Doubts(run)
    slow = slow_subscriptions(run) if kind == "delivery.queue" else np.empty(0, dtype=np.int64)
    names = tuple(dict.fromkeys((begin, end, *doubts.columns, *(("subscription",) if len(slow) else ()))))

    def read(_: Window, __: Ints, at: Mapping[str, Ints]) -> tuple[Ints, Off]:
        known = at[begin] >= 0
        if len(slow):
            known &= ~np.isin(at["subscription"], slow)
        off = doubts.of(at)
        its = {"delivery.latency": off.headline, "delivery.service": off.service}.get(kind, off.queue)
        return (at[end] - at[begin])[known], its.only(known)

    found = Collector(doubts.known)
    cuts = cut_by_second(run, window.start_ns, (window.start_ns, window.end_ns), SECOND_NS)
    inside = [cut for cut in cuts if window.start_ns <= cut.start_ns < window.end_ns]
    for values, off in in_windows(run, names, inside, read):
        found.add(values, *off)
    return found.done()


def slow_subscriptions(run: Run) -> Ints:
    """Return the subscriptions of clients that read slowly on purpose, ascending.

    Their messages wait in the socket on purpose. So a long receive-queue delay, or a kernel stamp that several messages
    of one read share, is no sign of a slow generator.
    """
    connections = run.table("connections", ("connection", "slow"))
    clients = np.unique(ints(connections, "connection")[ints(connections, "slow") > 0])
    if not len(clients):
        return clients
    table = run.table("subscriptions", ("connection", "subscription"))
    return np.unique(ints(table, "subscription")[np.isin(ints(table, "connection"), clients)])


@dataclass
class _Slice:
    """The figures of the deliveries of one slice of time; latency samples are kept only in the measure phase."""

    seconds: Ints
    bands_ns: dict[int, Ints]
    arrivals: Ints
    last_arrival_ns: int
    heat: npt.NDArray[np.int64]
    extremes_ns: tuple[int, int] | None
    left_out: int
    measured: bool
    end_ns: int
    headline_ns: Ints
    service_ns: Ints
    queue_ns: Ints
    #: Error bounds of `headline_ns`, `service_ns` and `queue_ns`.
    headline_off: Off
    service_off: Off
    queue_off: Off
    channel: npt.NDArray[Any]
    worker: npt.NDArray[Any]
    #: Group of each delivery's subscription; empty if all subscriptions are of one group.
    group: Ints
    #: Number of deliveries whose arrival is known only as an interval.
    inexact: int
    #: Kernel stamps, to find deliveries that share one. None if the record itself has bounds of each arrival.
    stamps: Stamps | None


@lru_cache(maxsize=1)
def latencies(run: Run) -> Latencies | None:
    """Return all latency figures of a run, or None if it has no deliveries; the last result is cached for the plots."""
    if not run.row_groups:
        return None
    return _Pass(run).result()


class _Pass:
    """Computes all latency figures of a run in one pass over its deliveries."""

    def __init__(self, run: Run) -> None:
        self._run, self._first_ns = run, run.first_publish_ns
        window = run.measure
        self._window = window if window is not None else Window(0, 0)
        groups = run.row_groups
        start_ns = max(self._first_ns, min(group.start_ns for group in groups))
        end_ns = max(group.end_ns for group in groups)
        seconds = max(1.0, (end_ns - start_ns) / SECOND_NS)
        columns = int(min(COLUMNS_MAX, max(10, seconds * 4)))
        self._edges_ns = start_ns + np.linspace(0, max(end_ns - start_ns, columns), columns + 1).astype(
            np.int64
        )
        self._events = ChannelsOfEvents(run, self._window)
        subscriptions = run.table("subscriptions", ("subscription",))
        self._people = Places(np.unique(ints(subscriptions, "subscription")))
        self._group_of, self._groups = _groups_of(run, self._people)
        self._slow = slow_subscriptions(run)
        self._doubts = Doubts(run)
        self._says_stamps = run.uncertain_arrivals is not None

    def result(self) -> Latencies:
        run, window = self._run, self._window
        edges_ns = (window.start_ns, window.end_ns, *self._events.edges_ns)
        windows = cut_by_second(run, self._first_ns, edges_ns, SECOND_NS)
        room, known = Room(), self._doubts.known
        headline, service, queue = (Collector(known, room) for _ in range(3))
        channel, worker, group = (Groups(Store(room)) for _ in range(3))
        heat = np.zeros((len(self._edges_ns) - 1, ROWS_A_DECADE * DECADES), dtype=np.int64)
        arrivals = np.zeros(0, dtype=np.int64)
        parts_seconds, parts_bands = [], []
        last_ns, left_out, extremes = 0, 0, []
        shared, inexact = Shared(), 0
        # Events due before or after the measure phase count only in the figures over time. So read just the two columns
        # that these figures need.
        measured = [place for place, each in enumerate(windows) if self._measured(each)]
        begin, end = (measured[0], measured[-1] + 1) if measured else (0, 0)
        few, all_columns = ("intended_ns", "arrival_ns"), (*_COLUMNS, *self._doubts.columns)
        for part in chain(
            in_windows(run, few, windows[:begin], self._slice),
            in_windows(run, all_columns, windows[begin:end], self._slice),
            in_windows(run, few, windows[end:], self._slice),
        ):
            heat += part.heat
            left_out += part.left_out
            if part.extremes_ns is not None:
                extremes.append(part.extremes_ns)
            last_ns = max(last_ns, part.last_arrival_ns)
            longer = max(len(arrivals), len(part.arrivals))
            arrivals = np.pad(arrivals, (0, longer - len(arrivals))) + np.pad(
                part.arrivals, (0, longer - len(part.arrivals))
            )
            parts_seconds.append(part.seconds)
            parts_bands.append(part.bands_ns)
            if not part.measured:
                continue
            headline.add(part.headline_ns, *part.headline_off)
            service.add(part.service_ns, *part.service_off)
            queue.add(part.queue_ns, *part.queue_off)
            channel.add(part.channel)
            worker.add(part.worker)
            group.add(part.group)
            inexact += part.inexact
            if part.stamps is not None:
                shared.add(part.stamps, part.end_ns)
        count, own_pace = len(headline.samples), len(queue.samples)
        by_channel = channel.largest(headline.samples.store)
        by_worker = worker.largest(headline.samples.store)
        by_group = group.largest(headline.samples.store) if len(self._groups) > 1 else []
        del channel, worker, group
        if not self._says_stamps:
            inexact = shared.count
        seconds, bands_ns = joined(parts_seconds, parts_bands)
        return Latencies(
            headline=Distribution.of(headline.done()),
            service=Distribution.of(service.done()),
            queue=Distribution.of(queue.done()),
            service_unknown=count - len(service.samples),
            stamps_shared=inexact / own_pace if own_pace else None,
            by_channel=by_channel,
            channels=self._events.channels,
            by_worker=by_worker,
            by_group=by_group,
            groups=self._groups,
            seconds=seconds,
            bands_ns=bands_ns,
            arrivals=arrivals,
            last_arrival_ns=last_ns,
            heat=Heat(
                self._edges_ns,
                heat,
                min(low for low, _ in extremes),
                max(high for _, high in extremes),
                left_out,
            )
            if heat.sum() > 1
            else None,
        )

    def _measured(self, window: Window) -> bool:
        return self._window.start_ns <= window.start_ns and window.end_ns <= self._window.end_ns

    def _slice(self, window: Window, _: Ints, at: Mapping[str, Ints]) -> _Slice:
        measured = self._measured(window)
        intended_ns, arrival_ns = at["intended_ns"], at["arrival_ns"]
        headline_ns = arrival_ns - intended_ns
        seconds, bands_ns = by_second((intended_ns - self._first_ns) // SECOND_NS, headline_ns)
        arrived = (arrival_ns - self._first_ns) // SECOND_NS
        heat, extremes_ns, left_out = self._heat(intended_ns, headline_ns)
        none = np.empty(0, dtype=np.int64)
        service_ns = queue_ns = channel = worker = group = none
        headline_off = service_off = queue_off = Off(None, None)
        stamps, inexact = None, 0
        if measured:
            known = at["sent_ns"] >= 0
            service_ns = arrival_ns[known] - at["sent_ns"][known]
            queue_ns = at["read_ns"] - arrival_ns
            off = self._doubts.of(at)
            headline_off, service_off, queue_off = off.headline, off.service.only(known), off.queue
            channel = self._events.of(window, at["publisher"], at["sequence"])
            worker = at["worker"]
            if len(self._groups) > 1:
                place = self._people.of(at["subscription"])
                group = np.where(place >= 0, self._group_of[place], -1)
            prompt: Any = slice(None)
            if len(self._slow):
                prompt = ~np.isin(at["subscription"], self._slow)
                queue_ns, queue_off = queue_ns[prompt], queue_off.only(prompt)
            if not self._says_stamps:
                stamps = Stamps.of(
                    at["subscription"][prompt], arrival_ns[prompt], intended_ns[prompt], self._people
                )
            elif off.inexact is not None:
                inexact = int(np.count_nonzero(off.inexact[prompt]))
        return _Slice(
            seconds=seconds,
            bands_ns=bands_ns,
            arrivals=np.bincount(arrived[arrived >= 0]),
            last_arrival_ns=int(arrival_ns.max()) if len(arrival_ns) else 0,
            heat=heat,
            extremes_ns=extremes_ns,
            left_out=left_out,
            measured=measured,
            end_ns=window.end_ns,
            headline_ns=headline_ns,
            service_ns=service_ns,
            queue_ns=queue_ns,
            headline_off=headline_off,
            service_off=service_off,
            queue_off=queue_off,
            channel=channel,
            worker=worker,
            group=group,
            inexact=inexact,
            stamps=stamps,
        )

    def _heat(
        self, intended_ns: Ints, latency_ns: Ints
    ) -> tuple[npt.NDArray[np.int64], tuple[int, int] | None, int]:
        shape = (len(self._edges_ns) - 1, ROWS_A_DECADE * DECADES)
        column = np.searchsorted(self._edges_ns, intended_ns, side="right") - 1
        inside = (column >= 0) & (column < shape[0])
        positive = inside & (latency_ns > 0)
        left_out = int(np.count_nonzero(inside & ~positive))
        if not positive.any():
            return np.zeros(shape, dtype=np.int64), None, left_out
        if not positive.all():
            column, latency_ns = column[positive], latency_ns[positive]
        row = (np.log10(latency_ns) * ROWS_A_DECADE).astype(np.int64)
        np.minimum(row, shape[1] - 1, out=row)
        counts = np.bincount(column * shape[1] + row, minlength=shape[0] * shape[1])
        return counts.reshape(shape), (int(latency_ns.min()), int(latency_ns.max())), left_out


def _groups_of(run: Run, people: Places) -> tuple[Ints, list[str | None]]:
    """Return, for each subscription, the index of its group's name, and the names of the groups."""
    table = run.table("subscriptions", ("subscription", "group"))
    code, names = codes(table, "group")
    found = np.zeros(len(people), dtype=np.int64)
    found[people.of(ints(table, "subscription"))] = code
    return found, names
