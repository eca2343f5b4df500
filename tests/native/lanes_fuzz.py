"""Compare the lanes of MQTT and of protocol files with Python: ``python -m tests.native.lanes_fuzz``.

A lane is C code that reads the messages of one connection, and leaves those that it does not know to Python. A random
stream of valid and changed messages is cut into random reads. One session gets all of it. The other session has a lane
and gets only what the lane leaves, as in a connection. Both must make the same rows, calls and acknowledgements in the
same order. Exit code: 0, or 1 with the first stream that differs.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from loadgen import native
from loadgen.measure.arrival import of_bytes
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import NOT_OURS, native_place
from loadgen.protocol.base import SessionHandler
from loadgen.transport.framing import TextFrames
from tests.native.fuzz import reader, rows_in
from tests.native.lane_streams import NUMBERS, PLACES, Streams, kinds, messages_of, reads_of, writes_of


class Log:
    """Handles one session's calls: makes rows of deliveries, and keeps all other calls."""

    def __init__(self, stamps: Stamps, rows: native.Rows) -> None:
        self.rows = rows
        self.calls: list[Any] = []
        self.sent = b""
        self._read = reader(stamps)

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """Record a delivery as `Deliveries` does."""
        try:
            stamp = self._read(event)
            assert stamp is not None
            self.rows.add(NUMBERS[subscription_id], arrival_ns, read_ns, stamp)
        except (*NOT_OURS, OverflowError) as error:
            unknown = subscription_id not in NUMBERS
            self.calls.append(("foreign", unknown, subscription_id, isinstance(error, KeyError)))

    def on_reply(self, message: bytes) -> None:
        self.sent += message

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        self.calls.append(("undecodable", kind, example()))

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *arguments: self.calls.append((name, *map(str, arguments)))


class Connection:
    """Processes reads as a connection does, with or without the native fast path (its "lane")."""

    def __init__(self, kind: Streams, stamps: Stamps, with_lane: bool) -> None:
        self.rows = native.Rows(9, 61)
        self.log = Log(stamps, self.rows)
        self.session = kind.session(cast(SessionHandler, self.log))
        self.lane: native.FastPath | None = None
        if with_lane:
            place = native_place(stamps)
            assert place is not None
            self.lane = self.session.fast_path(self.rows, NUMBERS, place)
            assert self.lane is not None, kind.name
        self.frames: TextFrames | None = None
        if kind.first:
            self.frames = TextFrames(self.session.receive, self._library, None, binary=kind.first == 0x82)
            self.frames.fast_path = self.lane
        #: All rows of deliveries, and how many of them the native code made.
        self.made: list[list[int]] = []
        self.by_lane = 0

    def _library(self, data: bytes, arrival_ns: int, read_ns: int) -> bool:
        self.log.calls.append(("library", data))
        return True

    def read(self, data: bytes, times: tuple[int, int, int, int]) -> None:
        """Process a read like the receive thread, `WebSocket` and `ByteStream`."""
        before = len(self.made)
        if self.lane is not None and (self.frames is None or self.frames.ready):
            data = data[self.lane.take_frames(data, *times) :]
            self.made += rows_in(self.rows)
            self.by_lane += len(self.made) - before
        if self.frames is not None:
            if data:
                self.frames.feed(data, *times)
        elif data:
            self.session.receive(data, of_bytes(times[0], times[2], times[3]), times[1])
        if self.lane is not None:
            self.log.sent += self.lane.take_owed()
        self.made += rows_in(self.rows)


class Different(AssertionError):
    """Python and the native code handle a stream differently."""


@dataclass
class Counts:
    """Counts by kind of stream.

    `units` counts messages, `rows` the rows that Python alone made, and `taken` the rows that native code made.
    """

    units: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)


def check(random: Random, kind: Streams, stamps: Stamps, counts: Counts) -> None:
    """Let Python alone, and Python with native code, read the same random stream; raises Different."""
    messages = messages_of(random, kind, stamps)
    reads = list(reads_of(random, writes_of(random, kind, list(messages))))
    by_python, by_both = Connection(kind, stamps, False), Connection(kind, stamps, True)
    for data, times in reads:
        by_python.read(data, times)
        by_both.read(data, times)
    told = f"{kind.name}, stamp at {stamps.place.words}: {reads!r}"
    for what, one, other in (
        ("makes", by_python.made, by_both.made),
        ("calls", by_python.log.calls, by_both.log.calls),
        ("sends", by_python.log.sent, by_both.log.sent),
    ):
        if one != other:
            raise Different(f"Python {what} {one!r} and with the lane {other!r} of {told}")
    counts.units[kind.name] += len(messages)
    counts.rows[kind.name] += len(by_python.made)
    counts.taken[kind.name] += by_both.by_lane


def run(units: int, seed: int) -> Counts:
    """Check streams of each kind in turn until ``units`` messages have been checked; raises Different."""
    random, counts, made = Random(seed), Counts(), kinds()
    stamps = [Stamps(place) for place in PLACES]
    while counts.units.total() < units:
        for kind in made:
            check(random, kind, random.choice(stamps), counts)
    return counts


def main() -> int:
    """Check as many messages as the command line asks for, and print the counts."""
    parser = argparse.ArgumentParser(description="Compare the lanes with the Python path.")
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=31)
    options = parser.parse_args()
    # Discard standard error: the codec writes a message there each time it panics.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        counts = run(options.units, options.seed)
    except Different as different:
        print(different)
        return 1
    print(
        f"seed {options.seed}: {counts.units.total():,} messages, {counts.rows.total():,} rows the same on both paths"
    )
    for name, count in counts.units.items():
        print(
            f"  {name}: {count:,} messages, {counts.rows[name]:,} rows, {counts.taken[name]:,} of them by the lane"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
