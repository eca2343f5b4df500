"""When the target was away: times at which nobody could be connected, or at which connections had fallen silent.

A connection on which nothing at all came for as long as the service may be silent is closed by the client
(`silent_since_ns` in the record). From when it was last heard until it was connected again nothing could come, and
whether the network or the service was at fault can't be told from here.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.ledger.windows import Flags
from analysis.loading.run import Ints, Run, Window, codes, ints

_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Outage:
    """An interval of the measure phase in which not one of the clients had a connection."""

    start_ns: int
    end_ns: int
    #: Clients whose connection was lost at its start or in it, and attempts to connect that failed in it.
    connections_lost: int
    attempts_failed: int
    #: Of those lost, how many were closed since they had fallen silent.
    connections_silent: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Silence:
    """A time in which connections had fallen silent, up to when all of them were connected again."""

    #: When the first of them was last heard.
    start_ns: int
    #: When the last of them was connected again; the end of the window where one never was.
    end_ns: int
    #: Clients whose connection had fallen silent, and those that had one at its start.
    connections: int
    connected: int
    #: The longest time from when one was last heard until it was closed.
    longest_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class _Lives:
    """Lives of connections; times in ns, _FOREVER where there is none."""

    connection: Ints
    started_ns: Ints
    up_ns: Ints
    #: When it was lost: of a silent one when it was last heard.
    down_ns: Ints
    closed_ns: Ints
    silent: Flags
    lost: Flags

    @property
    def was_up(self) -> Flags:
        return self.up_ns < _FOREVER


def _lives(run: Run) -> _Lives:
    names = (
        "worker", "connection", "life", "started_ns", "acknowledged_ns", "closed_ns", "error", "silent_since_ns",
    )  # fmt: skip
    table = run.table("connections", names)
    order = np.lexsort((ints(table, "life"), ints(table, "connection")))
    closed_ns = ints(table, "closed_ns", missing=_FOREVER)
    silent_ns = ints(table, "silent_since_ns", missing=_FOREVER)
    error, errors = codes(table, "error")
    lost = error != errors.index(None) if None in errors else np.ones(len(error), dtype=bool)
    # Of a worker that died nobody knows when its connections ended; it says nothing about the target.
    worker = ints(table, "worker")
    for number, end_ns in run.broken_off_ns.items():
        its = (worker == number) & (closed_ns == _FOREVER)
        closed_ns, lost = np.where(its, end_ns, closed_ns), lost & ~its
    up_ns = ints(table, "acknowledged_ns", missing=_FOREVER)
    return _Lives(
        ints(table, "connection")[order],
        ints(table, "started_ns")[order],
        up_ns[order],
        np.minimum(closed_ns, np.maximum(silent_ns, np.where(up_ns < _FOREVER, up_ns, 0)))[order],
        closed_ns[order],
        (silent_ns < _FOREVER)[order],
        lost[order],
    )


def find_outages(run: Run, window: Window) -> list[Outage]:
    """Return the outages of a window; none where nobody ever was connected, or all left by themselves."""
    lives = _lives(run)
    was_up, lost, started_ns = lives.was_up, lives.lost, lives.started_ns
    up_ns, down_ns = lives.up_ns, lives.down_ns
    if not was_up.any():
        return []
    times_ns = np.concatenate((up_ns[was_up], down_ns[was_up]))
    steps = np.concatenate((np.ones(was_up.sum(), dtype=np.int64), -np.ones(was_up.sum(), dtype=np.int64)))
    order = np.lexsort((-steps, times_ns))
    times_ns, connected = times_ns[order], np.cumsum(steps[order])
    outages = []
    for place in np.flatnonzero(connected == 0).tolist():
        start_ns = int(times_ns[place])
        end_ns = int(times_ns[place + 1]) if place + 1 < len(times_ns) else _FOREVER
        begin_ns, stop_ns = max(start_ns, window.start_ns), min(end_ns, window.end_ns)
        just_lost = was_up & lost & (down_ns <= start_ns) & (down_ns > start_ns - 1_000_000_000)
        gone, silent = int(np.count_nonzero(just_lost)), int(np.count_nonzero(just_lost & lives.silent))
        failed = int(np.count_nonzero(~was_up & (started_ns >= start_ns) & (started_ns < end_ns)))
        if begin_ns < stop_ns and gone and (failed or silent):
            outages.append(Outage(begin_ns, stop_ns, gone, failed, silent))
    return outages


def find_silences(run: Run, window: Window) -> list[Silence]:
    """Return the times in which connections had fallen silent, of those that touch a window."""
    lives = _lives(run)
    again_ns = np.full(len(lives.connection), _FOREVER, dtype=np.int64)
    latest_ns, of = _FOREVER, -1
    for place in range(len(again_ns) - 1, -1, -1):
        if lives.connection[place] != of:
            latest_ns, of = _FOREVER, int(lives.connection[place])
        again_ns[place] = latest_ns
        if lives.up_ns[place] < _FOREVER:
            latest_ns = int(lives.up_ns[place])
    end_ns = np.where(again_ns < _FOREVER, again_ns, np.maximum(lives.closed_ns, window.end_ns))
    touching = lives.silent & (lives.down_ns < window.end_ns) & (end_ns > window.start_ns)
    places = np.flatnonzero(touching)
    silences: list[Silence] = []
    group: list[int] = []
    for place in [*places[np.argsort(lives.down_ns[places], kind="stable")].tolist(), -1]:
        if group and (place < 0 or lives.down_ns[place] > end_ns[group].max()):
            silences.append(_silence(lives, end_ns, group))
            group = []
        group.append(place)
    return silences


def _silence(lives: _Lives, end_ns: Ints, group: list[int]) -> Silence:
    start_ns = int(lives.down_ns[group].min())
    up = (lives.up_ns <= start_ns) & (lives.closed_ns > start_ns)
    return Silence(
        start_ns,
        int(end_ns[group].max()),
        len(np.unique(lives.connection[group])),
        int(np.count_nonzero(up)),
        int((lives.closed_ns - lives.down_ns)[group].max()),
    )
