"""Find outages, in which no client had a connection, and silences, in which connections received nothing.

A client closes a connection that received nothing for as long as the service may be silent (`silent_since_ns` in the
record). After the last received data, nothing could arrive until the client was connected again. The record cannot tell
whether the network or the service was at fault.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.ledger.windows import Flags
from analysis.loading.run import Ints, Run, Window, codes, ints

_FOREVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Outage:
    """An interval of the measure phase in which no client had a connection."""

    start_ns: int
    end_ns: int
    #: Number of clients that lost their connection in the second before the outage (`connections_lost`), and number of
    #: failed attempts to connect during it (`attempts_failed`).
    connections_lost: int
    attempts_failed: int
    #: Number of the lost connections that were closed for silence.
    connections_silent: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class Silence:
    """An interval with silent connections: from when the first fell silent until the last client reconnected."""

    #: Time at which the first of the silent connections was last heard from.
    start_ns: int
    #: Time at which the last silent client was connected again, or the end of the time window if a client never was.
    end_ns: int
    #: Number of clients whose connection had fallen silent (`connections`), and number of clients that were connected
    #: at the start of the silence (`connected`).
    connections: int
    connected: int
    #: Longest time (ns) for which a connection received nothing before it was closed.
    longest_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True)
class _Lives:
    """Lives of connections, each from the start of an attempt to connect until the connection was closed.

    Times are in ns; _FOREVER stands for an event that never happened.
    """

    connection: Ints
    started_ns: Ints
    up_ns: Ints
    #: Time at which the connection was lost; for a silent connection, the time at which data last arrived.
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
    # It is unknown when the open connections of a lost worker ended, and their end says nothing about the target. Treat
    # them as closed without an error at the end of the worker's record.
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
    """Return the outages in a time window; none if no client was ever connected, or if all clients left on purpose."""
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
    """Return the silences that overlap a time window."""
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
