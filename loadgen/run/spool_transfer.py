"""Carrying the spool of a worker on another machine to the master, while the run goes on.

The streams of a spool only ever grow. Once a second a worker sends what its own have grown by, in pieces that say where
they belong and carry a checksum; the master appends what follows on what it has and answers how far it got. So a worker
that dies has lost its last second and not its record. Neither side holds more than a few pieces in memory: what is
not acknowledged stays on the worker's disk and is read again if need be. A piece that was damaged, came twice or out
of turn (a connection that was cut) changes nothing; the answer says from where to send again.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from analysis.record import files
from loadgen.run.messages import Payload
from loadgen.run.worker_messages import PIECE_BYTES, Piece, own_files

#: Most that is under way unacknowledged: enough to fill 80 Mbit/s over 100 ms, and what pings wait behind is short.
WINDOW_BYTES = 8 * PIECE_BYTES
#: So long without an answer, and what is under way is taken for lost.
RESEND_S = 5.0


class SpoolSender:
    """The worker's end. ``send`` is given the payload of a SPOOL message."""

    def __init__(
        self,
        files: Callable[[], list[Path]],
        send: Callable[[Payload], None],
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._send = send
        self._steady_s = steady_s
        self._sent: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}
        self._heard_s = self._asked_s = steady_s()
        #: Nothing was heard for long: one piece at a time until there is an answer, which says from where to go on.
        self._asking = False

    @property
    def under_way(self) -> int:
        """Bytes that were sent and not acknowledged."""
        return sum(self._sent.values()) - sum(self._acknowledged.values())

    @property
    def silent_s(self) -> float:
        """How long nothing that was sent has been acknowledged; 0 where nothing is under way."""
        return self._steady_s() - self._heard_s if self.under_way else 0.0

    def pending(self) -> int:
        """Return how many bytes of the files the master does not have, as far as is known."""
        return sum(
            max(0, path.stat().st_size - self._acknowledged.get(path.name, 0)) for path in self._files()
        )

    def pump(self) -> None:
        """Send as much as may be under way; raises OSError where the files cannot be read."""
        now_s = self._steady_s()
        if not self.under_way:
            self._heard_s = now_s
        elif now_s - max(self._heard_s, self._asked_s) > RESEND_S:
            self._sent, self._asked_s, self._asking = dict(self._acknowledged), now_s, True
        window = PIECE_BYTES if self._asking else WINDOW_BYTES
        for path in self._files():
            at = self._sent.setdefault(path.name, 0)
            self._acknowledged.setdefault(path.name, 0)
            room = window - self.under_way
            if room <= 0:
                return
            if path.stat().st_size == at:
                continue
            with path.open("rb") as file:
                file.seek(at)
                while room > 0 and (piece := file.read(min(PIECE_BYTES, room))):
                    self._send(
                        {
                            "name": path.name,
                            "at": at,
                            "piece": piece,
                            "crc32": crc32(piece),
                        }
                    )
                    at += len(piece)
                    room -= len(piece)
                    self._sent[path.name] = at

    def on_answer(self, payload: Payload) -> None:
        """Take the master's word for how much of a file it has."""
        name, have = payload["name"], payload["have"]
        if name not in self._sent:
            return
        self._asking = False
        if have > self._acknowledged[name] or payload["again"]:
            self._heard_s = self._steady_s()
        self._acknowledged[name] = max(self._acknowledged[name], have)
        # What was sent beyond a piece that did not arrive was of no use.
        self._sent[name] = have if payload["again"] else max(self._sent[name], have)

    def totals(self) -> dict[str, int]:
        """Return the size of each file, which the master holds its own against."""
        return {path.name: path.stat().st_size for path in self._files()}


class SpoolReceiver:
    """The master's end: appends to the run's own spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._have: dict[str, int] = {}

    def take(self, worker: int, sent: Piece) -> Payload:
        """Write a piece; return the answer, or raise OSError where the disk does not take it.

        Raises:
            ValueError: it is no file of that worker's spool.
        """
        name, at, piece = sent.name, sent.at, sent.piece
        if name not in own_files(worker):
            raise ValueError(f"worker {worker} sent a piece of {name!a}, which is no file of its spool")
        have = self._have.get(name, 0)
        again = at > have or crc32(piece) != sent.crc32
        fresh = b"" if again else piece[have - at :]
        if fresh:
            path = self._folder / name
            with (path if have else files.fresh(path)).open("r+b") as file:
                # A write that failed half-way has left a tail behind.
                file.seek(have)
                file.write(fresh)
                file.flush()
            have += len(fresh)
            self._have[name] = have
        return {"name": name, "have": have, "again": again}

    def missing(self, worker: int, totals: dict[str, int]) -> int:
        """Return how many bytes of a worker's files are not here; raises ValueError for a file that is not its own."""
        foreign = sorted(totals.keys() - own_files(worker))
        if foreign:
            raise ValueError(f"worker {worker} told of {foreign[0]!a}, which is no file of its spool")
        return sum(max(0, total - self._have.get(name, 0)) for name, total in totals.items())


def remove(files: list[Path]) -> None:
    """Remove a worker's own spool and its folder once the master has all of it."""
    for path in files:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        try:
            os.rmdir(folder)  # noqa: PTH106
        except OSError:
            continue
