"""The latencies of all deliveries, gone through once: what the summary and the plots say of them.

Percentiles are of raw samples. For a run too large for memory they are collected slice by slice of intended time, 4
bytes a sample where all of them fit; nothing is thinned out.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.lookup import EventPlaces, Places, grouping
from analysis.percentiles import Percentiles, curve, nearest_rank
from analysis.run import Ints, Run, Window, codes, ints
from analysis.slices import SLICE_ROWS, cut_by_second, in_turn

SECOND_NS = 1_000_000_000
#: Percentiles by second; 100 is the maximum.
BANDS = (50, 90, 99, 100)
#: The heatmap's own grid: rows a decade of nanoseconds, and columns at most.
ROWS_A_DECADE = 60
DECADES = 13
COLUMNS_MAX = 240
#: Groups shown each by itself, and points of their curves.
GROUPS_MAX = 8
SHARES = 400
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
_KINDS: tuple[type[np.signedinteger[Any]], ...] = (np.int8, np.int16, np.int32, np.int64)


@dataclass(frozen=True)
class Distribution:
    """One kind of latency in the measure phase: its percentiles, and (fractions above, values) of its curve."""

    percentiles: Percentiles
    curve: tuple[Floats, Ints] | None

    @classmethod
    def of(cls, samples: npt.NDArray[Any]) -> "Distribution":
        """Compute; the samples are sorted in place."""
        samples.sort()
        return cls(Percentiles.of_sorted(samples), curve(samples) if len(samples) > 1 else None)


@dataclass(frozen=True)
class Group:
    """Deliveries of one channel or worker (`code`), or of all that are not shown by themselves (None)."""

    code: int | None
    #: How many channels or workers it is of.
    members: int
    count: int
    #: Latencies at even shares from the smallest to the largest.
    at_shares: Ints


@dataclass(frozen=True)
class Heat:
    """How many deliveries lay in each cell of time (columns) and latency (rows, from 1 ns up)."""

    edges_ns: Ints
    counts: npt.NDArray[np.int64]
    lowest_ns: int
    highest_ns: int
    #: Latencies that are not above zero and stand on no logarithmic axis.
    left_out: int


@dataclass(frozen=True)
class Latencies:
    """Everything about the latencies of a run."""

    #: Of the measure phase: arrival − intended, arrival − sent, read − arrival (without clients that are slow on
    #: purpose, as with the shared stamps).
    headline: Distribution
    service: Distribution
    queue: Distribution
    #: Deliveries whose sending time nobody knows, and the share whose stamp is that of a later event.
    service_unknown: int
    stamps_shared: float | None
    by_channel: list[Group]
    channels: list[str | None]
    by_worker: list[Group]
    #: Of all phases: seconds since the first publish in which something was due, and the percentiles in each.
    seconds: Ints
    bands_ns: dict[int, Ints]
    #: Arrivals in each second since the first publish, from 0 on; and the last arrival.
    arrivals: Ints
    last_arrival_ns: int
    heat: Heat | None


#: How each kind of latency is computed from the columns of a delivery: end, begin.
KINDS = {
    "delivery.latency": ("arrival_ns", "intended_ns"),
    "delivery.service": ("arrival_ns", "sent_ns"),
    "delivery.queue": ("read_ns", "arrival_ns"),
}


def samples(run: Run, window: Window, kind: str) -> npt.NDArray[Any]:
    """Return all latencies of a kind of the events due in a window; those whose beginning nobody knows are left out."""
    end, begin = KINDS[kind]

    slow = slow_subscriptions(run) if kind == "delivery.queue" else np.empty(0, dtype=np.int64)

    def read(part: Window) -> Ints:
        _, table = run.deliveries_in((begin, end, *(("subscription",) if len(slow) else ())), part)
        begin_ns = ints(table, begin)
        known = begin_ns >= 0
        if len(slow):
            known &= ~np.isin(ints(table, "subscription"), slow)
        found: Ints = (ints(table, end) - begin_ns)[known]
        return found

    groups = run.row_groups
    found = _Samples(sum(g.rows for g in groups if g.start_ns < window.end_ns and g.end_ns > window.start_ns))
    cuts = cut_by_second(run, window.start_ns, (window.start_ns, window.end_ns), SECOND_NS)
    for values in in_turn(read, (cut for cut in cuts if window.start_ns <= cut.start_ns < window.end_ns)):
        found.add(values)
    return found.all()


def slow_subscriptions(run: Run) -> Ints:
    """Return the subscriptions of clients that read slowly on purpose, ascending.

    How long their deliveries waited to be read, and which share a stamp, says nothing of the generator.
    """
    connections = run.table("connections", ("connection", "slow"))
    clients = np.unique(ints(connections, "connection")[ints(connections, "slow") > 0])
    if not len(clients):
        return clients
    table = run.table("subscriptions", ("connection", "subscription"))
    return np.unique(ints(table, "subscription")[np.isin(ints(table, "connection"), clients)])


@dataclass
class _Slice:
    """What a slice adds; of the measure phase only where it lies in it."""

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
    channel: npt.NDArray[Any]
    worker: npt.NDArray[Any]
    stamps: "_Stamps"


@lru_cache(maxsize=1)
def latencies(run: Run) -> Latencies | None:
    """Go through the deliveries of a run; None: there are none. The last result is kept, as several plots need it."""
    if not run.row_groups:
        return None
    return _Pass(run).result()


class _Pass:
    """One pass over the deliveries."""

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
        events = run.table("events", ("publisher", "sequence", "channel"), window)
        key = (ints(events, "publisher") << 32) | ints(events, "sequence")
        order = np.argsort(key, kind="stable")
        channel, self._channels = codes(events, "channel")
        self._channel = channel[order].astype(np.int32)
        self._places = EventPlaces(key[order])
        subscriptions = run.table("subscriptions", ("subscription",))
        self._people = Places(np.unique(ints(subscriptions, "subscription")))
        self._slow = slow_subscriptions(run)

    def result(self) -> Latencies:
        run, window = self._run, self._window
        windows = cut_by_second(run, self._first_ns, (window.start_ns, window.end_ns), SECOND_NS)
        most = sum(
            group.rows
            for group in run.row_groups
            if group.start_ns < window.end_ns and group.end_ns > window.start_ns
        )
        headline, service, queue, channel, worker = (_Samples(most) for _ in range(5))
        heat = np.zeros((len(self._edges_ns) - 1, ROWS_A_DECADE * DECADES), dtype=np.int64)
        arrivals = np.zeros(0, dtype=np.int64)
        parts_seconds, parts_bands = [], []
        last_ns, left_out, extremes = 0, 0, []
        shared = _Shared()
        for part in in_turn(self._slice, windows):
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
            headline.add(part.headline_ns)
            service.add(part.service_ns)
            queue.add(part.queue_ns)
            channel.add(part.channel)
            worker.add(part.worker)
            shared.add(part.stamps, part.end_ns)
        count, own_pace = len(headline.all()), len(queue.all())
        by_channel = _groups(headline.all(), channel.all())
        by_worker = _groups(headline.all(), worker.all())
        del channel, worker
        seconds, bands_ns = _joined(parts_seconds, parts_bands)
        return Latencies(
            headline=Distribution.of(headline.all()),
            service=Distribution.of(service.all()),
            queue=Distribution.of(queue.all()),
            service_unknown=count - len(service.all()),
            stamps_shared=shared.count / own_pace if own_pace else None,
            by_channel=by_channel,
            channels=self._channels,
            by_worker=by_worker,
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

    def _slice(self, window: Window) -> _Slice:
        measured = self._window.start_ns <= window.start_ns and window.end_ns <= self._window.end_ns
        names = _COLUMNS if measured else ("intended_ns", "arrival_ns")
        _, table = self._run.deliveries_in(names, window)
        at = {name: ints(table, name) for name in names}
        del table
        intended_ns, arrival_ns = at["intended_ns"], at["arrival_ns"]
        headline_ns = arrival_ns - intended_ns
        seconds, bands_ns = _bands((intended_ns - self._first_ns) // SECOND_NS, headline_ns)
        arrived = (arrival_ns - self._first_ns) // SECOND_NS
        heat, extremes_ns, left_out = self._heat(intended_ns, headline_ns)
        none = np.empty(0, dtype=np.int64)
        service_ns = queue_ns = channel = worker = none
        stamps = _Stamps(none, none, none)
        if measured:
            known = at["sent_ns"] >= 0
            service_ns = arrival_ns[known] - at["sent_ns"][known]
            queue_ns = at["read_ns"] - arrival_ns
            place = self._places.of(at["publisher"], at["sequence"])
            channel = np.append(self._channel, -1)[place]
            worker = at["worker"]
            prompt: Any = slice(None)
            if len(self._slow):
                prompt = ~np.isin(at["subscription"], self._slow)
                queue_ns = queue_ns[prompt]
            stamps = _Stamps.of(
                at["subscription"][prompt], arrival_ns[prompt], intended_ns[prompt], self._people
            )
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
            channel=channel,
            worker=worker,
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


def _bands(second: Ints, latency_ns: Ints) -> tuple[Ints, dict[int, Ints]]:
    """Return the seconds that occur, and the percentiles of the latencies in each."""
    if not len(second):
        return second, dict.fromkeys(BANDS, second)
    order = grouping(second - second.min())
    present, begins = np.unique(second[order], return_index=True)
    groups = np.split(latency_ns[order], begins[1:])
    for group in groups:
        group.sort()
    return present, {
        percent: np.array([nearest_rank(group, percent) for group in groups]) for percent in BANDS
    }


def _joined(seconds: list[Ints], bands_ns: list[dict[int, Ints]]) -> tuple[Ints, dict[int, Ints]]:
    joined = np.concatenate(seconds)
    order = np.argsort(joined, kind="stable")
    return joined[order], {
        percent: np.concatenate([part[percent] for part in bands_ns])[order] for percent in BANDS
    }


def _groups(latency_ns: npt.NDArray[Any], code: npt.NDArray[Any]) -> list[Group]:
    """Return the largest groups, and the others together; deliveries of no group (-1) are in none."""
    # Block by block: numpy counts and looks up with 8 bytes a number, whatever the codes take.
    blocks = [slice(begin, begin + SLICE_ROWS) for begin in range(0, len(code), SLICE_ROWS)]
    size = int(code.max()) + 2 if len(code) else 1
    counts = np.zeros(size, dtype=np.int64)
    for block in blocks:
        counts += np.bincount(code[block].astype(np.int64) + 1, minlength=size)[: size + 1]
    counts = counts[1:]
    present = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
    if len(present) < 2:
        return []
    found = [_group(number, 1, latency_ns[code == number]) for number in present[:GROUPS_MAX]]
    if rest := present[GROUPS_MAX:]:
        other = np.zeros(size, dtype=bool)
        other[rest] = True
        others = np.concatenate([latency_ns[block][other[code[block]]] for block in blocks])
        found.append(_group(None, len(rest), others))
    return found


def _group(code: int | None, members: int, samples: npt.NDArray[Any]) -> Group:
    samples.sort()
    places = np.minimum((np.linspace(0, 1, SHARES) * len(samples)).astype(np.int64), len(samples) - 1)
    return Group(code, members, len(samples), samples[places].astype(np.int64))


@dataclass(frozen=True)
class _Stamps:
    """Rows that have their arrival stamp in common with another event on the same subscription; each event once.

    The first and last of each subscription are kept too: what shares their stamp may be in another slice. Arrays:
    subscription, arrival, intended time; sorted by these.
    """

    subscription: Ints
    arrival_ns: Ints
    intended_ns: Ints

    @classmethod
    def of(cls, subscription: Ints, arrival_ns: Ints, intended_ns: Ints, people: Places) -> "_Stamps":
        """Take the rows of a slice."""
        if not len(arrival_ns):
            return cls(subscription, arrival_ns, intended_ns)
        place = people.of(subscription)
        if place.min() < 0:
            place = np.unique(subscription, return_inverse=True)[1]
        arrival = arrival_ns - arrival_ns.min()
        # A subscription's rows stand in the order in which they came, so that most are sorted by time already.
        order = np.argsort(place * (int(arrival.max()) + 1) + arrival, kind="stable")
        rows = cls(subscription[order], arrival_ns[order], intended_ns[order])
        same = rows.same()
        if (same & (rows.intended_ns[1:] < rows.intended_ns[:-1])).any():
            rows = rows.taken(np.lexsort((rows.intended_ns, rows.arrival_ns, rows.subscription)))
            same = rows.same()
        rows = rows.taken(np.r_[True, ~(same & (rows.intended_ns[1:] == rows.intended_ns[:-1]))])
        same = rows.same()
        other = rows.subscription[1:] != rows.subscription[:-1]
        return rows.taken(np.r_[True, same | other] | np.r_[same | other, True])

    @classmethod
    def joined(cls, parts: list["_Stamps"]) -> "_Stamps":
        """Return the rows of all slices, sorted."""
        rows = cls(
            np.concatenate([part.subscription for part in parts]),
            np.concatenate([part.arrival_ns for part in parts]),
            np.concatenate([part.intended_ns for part in parts]),
        )
        return rows.taken(np.lexsort((rows.intended_ns, rows.arrival_ns, rows.subscription)))

    def taken(self, chosen: npt.NDArray[Any]) -> "_Stamps":
        """Return the chosen rows."""
        return _Stamps(self.subscription[chosen], self.arrival_ns[chosen], self.intended_ns[chosen])

    def same(self) -> npt.NDArray[np.bool_]:
        """Whether each row but the first is of the subscription and stamp of the one before."""
        same: npt.NDArray[np.bool_] = (self.subscription[1:] == self.subscription[:-1]) & (
            self.arrival_ns[1:] == self.arrival_ns[:-1]
        )
        return same

    @property
    def shared(self) -> int:
        """How many deliveries have the stamp of a later event: they waited together for one read."""
        return int(np.count_nonzero(self.same() & (self.intended_ns[1:] != self.intended_ns[:-1])))


class _Shared:
    """Adds up shared stamps over slices in their order: what one read brought may lie in two of them."""

    def __init__(self) -> None:
        self._done = 0
        none = np.empty(0, dtype=np.int64)
        self._pending = _Stamps(none, none, none)

    def add(self, rows: _Stamps, end_ns: int) -> None:
        """Take the rows of the events that were due up to ``end_ns``: later ones arrive after that."""
        before = self._pending.arrival_ns.max() if len(self._pending.arrival_ns) else -1
        near = (rows.arrival_ns <= before) | (rows.arrival_ns >= end_ns)
        self._done += rows.taken(~near).shared
        pending = _Stamps.joined([self._pending, rows.taken(near)])
        done = pending.arrival_ns < end_ns
        self._done += pending.taken(done).shared
        self._pending = pending.taken(~done)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._done + self._pending.shared


class _Samples:
    """Samples as they come, in as few bytes each as all of them fit into."""

    def __init__(self, most: int) -> None:
        # What is not written to takes no memory.
        self._values: npt.NDArray[Any] = np.empty(most, dtype=np.int8)
        self._count = 0

    def add(self, values: Ints) -> None:
        """Take more."""
        if not len(values):
            return
        low, high = int(values.min()), int(values.max())
        kind = next(kind for kind in _KINDS if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
        if np.dtype(kind).itemsize > self._values.dtype.itemsize:
            wider = np.empty(len(self._values), dtype=kind)
            wider[: self._count] = self._values[: self._count]
            self._values = wider
        self._values[self._count : self._count + len(values)] = values
        self._count += len(values)

    def all(self) -> npt.NDArray[Any]:
        """Return them in the order in which they came."""
        return self._values[: self._count]
