"""Transfer the spool (rows on disk) of a worker on another machine to the master during the run.

Spool files only grow. Once a second a worker sends what was appended to its files, in pieces with an offset and a
checksum. The master appends each piece that continues its own copy of the file, and answers with the size of the copy.
So a worker that dies loses its last second, not its whole record. Neither side holds more than a few pieces in memory:
unacknowledged data stays on the worker's disk and is read again if necessary. A piece that is damaged, duplicate or out
of order (after a broken connection) changes nothing, and the answer says from which offset to send again.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from analysis.record import files
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.worker_messages import PIECE_BYTES, Piece, own_files

#: Maximum number of unacknowledged bytes. It is enough for 80 Mbit/s at a round trip of 100 ms, and small enough that
#: pings queued behind these bytes are not delayed for long.
WINDOW_BYTES = 8 * PIECE_BYTES
#: Time without an answer after which unacknowledged data counts as lost.
RESEND_S = 5.0


class SpoolSender:
    """Sends a worker's spool files to the master: ``files`` returns the files, and ``send`` sends one piece."""

    def __init__(
        self,
        files: Callable[[], list[Path]],
        send: Callable[[Piece], None],
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._send = send
        self._steady_s = steady_s
        self._sent: dict[str, int] = {}
        self._acknowledged: dict[str, int] = {}
        self._heard_s = self._asked_s = steady_s()
        #: True after a long silence of the master: then one piece at a time is sent, until an answer says at which
        #: offset to continue.
        self._asking = False

    @property
    def under_way(self) -> int:
        """Bytes sent but not acknowledged."""
        return sum(self._sent.values()) - sum(self._acknowledged.values())

    @property
    def silent_s(self) -> float:
        """Seconds since the last acknowledgement, or 0 if everything sent is acknowledged."""
        return self._steady_s() - self._heard_s if self.under_way else 0.0

    def pending(self) -> int:
        """Return the number of bytes of the files that the master has not acknowledged."""
        return sum(
            max(0, path.stat().st_size - self._acknowledged.get(path.name, 0)) for path in self._files()
        )

    def pump(self) -> None:
        """Send new data up to the limit of unacknowledged bytes; raises OSError if the files cannot be read."""
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
                    self._send(Piece(name=path.name, at=at, piece=piece, crc32=crc32(piece)))
                    at += len(piece)
                    room -= len(piece)
                    self._sent[path.name] = at

    def on_answer(self, answer: SpoolWritten) -> None:
        """Handle the master's answer on how many bytes of a file it has."""
        name, have = answer.name, answer.have
        if name not in self._sent:
            return
        self._asking = False
        if have > self._acknowledged[name] or answer.again:
            self._heard_s = self._steady_s()
        self._acknowledged[name] = max(self._acknowledged[name], have)
        # If a piece was lost or damaged, the master dropped all later ones: resume from the size of the master's copy.
        self._sent[name] = have if answer.again else max(self._sent[name], have)

    def totals(self) -> dict[str, int]:
        """Return the size of each spool file, so that the master can check that it has all of their bytes."""
        return {path.name: path.stat().st_size for path in self._files()}


class SpoolReceiver:
    """The master's end: appends pieces to the run's own spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._have: dict[str, int] = {}

    def take(self, worker: int, sent: Piece) -> SpoolWritten:
        """Write a piece and return the answer for its sender.

        Raises:
            OSError: the piece cannot be written.
            ValueError: the file does not belong to that worker's spool.
        """
        name, at, piece = sent.name, sent.at, sent.piece
        if name not in own_files(worker):
            raise ValueError(f"worker {worker} sent a piece of {name!a}, which is not a file of its spool")
        have = self._have.get(name, 0)
        again = at > have or crc32(piece) != sent.crc32
        fresh = b"" if again else piece[have - at :]
        if fresh:
            path = self._folder / name
            # Write at the offset ``have`` instead of appending: if an earlier write failed half-way, the file has bytes
            # after this offset.
            _write_at(path if have else files.fresh(path), fresh, have)
            have += len(fresh)
            self._have[name] = have
        return SpoolWritten(name=name, have=have, again=again)

    def missing(self, worker: int, totals: dict[str, int]) -> int:
        """Return how many bytes of a worker's files the master lacks; raises ValueError for another worker's file."""
        foreign = sorted(totals.keys() - own_files(worker))
        if foreign:
            raise ValueError(f"worker {worker} told of {foreign[0]!a}, which is not a file of its spool")
        return sum(max(0, total - self._have.get(name, 0)) for name, total in totals.items())


def _write_at(path: Path, content: bytes, at: int) -> None:
    """Write to an existing file at an offset, without a buffer, which would copy each piece once more."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        left = memoryview(content)
        while left:
            written = os.pwrite(descriptor, left, at)
            left, at = left[written:], at + written
    finally:
        os.close(descriptor)


def remove(files: list[Path]) -> None:
    """Remove a worker's own spool files and their folder, once the master has all of them."""
    for path in files:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        try:
            os.rmdir(folder)  # noqa: PTH106
        except OSError:
            continue
