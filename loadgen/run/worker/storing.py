"""Store a worker's spool (its rows on disk) in a folder or object storage, piece by piece, in a thread of its own.

The thread only reads what the spool has already on disk and holds one piece at a time. So a slow or failing storage
delays no delivery and takes no more memory: the spool on disk grows, and its rest is stored at the end of the run.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.record.parts import PIECE_BYTES, checked_run, piece_name, worker_folder
from analysis.record.storage import Storage, StorageError
from loadgen.run.threads import native_sleep, start_native_thread

#: Time (s) after which new rows are stored even if they fill no piece: a worker that is killed loses no more than that.
PIECE_S: Final = 10.0
#: Time (s) between attempts after a failed one.
RETRY_S: Final = 2.0
_LOOK_S: Final = 0.1


@dataclass
class _Stream:
    """One file of the spool: how much of it is stored, and the piece that is being stored."""

    table: str
    pieces: int = 0
    size: int = 0
    #: Time since which the file has bytes that are not stored, or None if all are.
    since_s: float | None = None
    #: A piece that could not be stored yet. It stays the same until it is: its name has its checksum.
    held: bytes = b""

    def __post_init__(self) -> None:
        self.hash = hashlib.sha256()


@dataclass(frozen=True)
class StoredStream:
    """A stream that a worker has stored: its size in bytes, and the SHA-256 of the whole."""

    pieces: int
    size: int
    sha256: str


class Storing:
    """Stores the files of one worker's spool; ``files`` returns them, as far as they exist.

    Tests replace ``sleep``, ``now_s`` and ``start``.
    """

    def __init__(
        self,
        storage: Storage,
        run: str,
        worker: int,
        files: Callable[[], list[Path]],
        sleep: Callable[[float], None] = native_sleep,
        now_s: Callable[[], float] = time.monotonic,
        start: Callable[[Callable[[], Any]], None] = start_native_thread,
    ) -> None:
        """Start the thread; raises ValueError if the run's name could lead out of the place."""
        self._storage = storage
        self._worker = worker
        self._folders = (checked_run(run), worker_folder(worker))
        self._files = files
        self._sleep = sleep
        self._now_s = now_s
        self._streams: dict[str, _Stream] = {}
        self._last = False
        self._ended = False
        self._moved_s = now_s()
        #: The last error of the storage, as part of a sentence, or None if the last attempt succeeded.
        self.trouble: str | None = None
        #: Number of attempts that failed.
        self.failures = 0
        start(self._work)

    @property
    def uri(self) -> str:
        """The run's folder in the storage."""
        return f"{self._storage.place.uri}/{self._folders[0]}"

    @property
    def stored_bytes(self) -> int:
        """Bytes stored so far."""
        return sum(stream.size for stream in list(self._streams.values()))

    @property
    def silent_s(self) -> float:
        """Seconds since the last piece was stored, or since `finish` was called if that is later."""
        return self._now_s() - self._moved_s

    def streams(self) -> dict[str, StoredStream]:
        """Return what is stored, by file name."""
        return {
            name: StoredStream(stream.pieces, stream.size, stream.hash.hexdigest())
            for name, stream in list(self._streams.items())
        }

    def unstored(self) -> list[Path]:
        """Return the files that are not stored to their end."""
        return [path for path in self._files() if _size(path) > self._stored(path)]

    def pending(self) -> int:
        """Return the number of bytes that are not stored."""
        return sum(max(0, _size(path) - self._stored(path)) for path in self._files())

    def finish(self) -> None:
        """Store the rest of the files, which no longer grow, without waiting for full pieces."""
        self._moved_s = self._now_s()
        self._last = True

    def stop(self) -> None:
        """Store nothing more. A request that is under way may still end; what it stores does not count."""
        self._ended = True

    def _stored(self, path: Path) -> int:
        stream = self._streams.get(path.name)
        return 0 if stream is None else stream.size

    def _work(self) -> None:
        while not self._ended:
            last = self._last
            moved = self._round(last)
            if last and not moved and self.trouble is None:
                return
            if self.trouble is not None:
                self._sleep(RETRY_S)
            elif not moved:
                self._sleep(_LOOK_S)

    def _round(self, last: bool) -> bool:
        """Store at most one piece of each file that is due; return True if one was stored."""
        moved = False
        for path in self._files():
            stream = self._streams.setdefault(path.name, _Stream(path.name.rsplit("-", 1)[0]))
            try:
                waiting = _size(path) - stream.size
                if waiting <= 0 or not self._due(stream, waiting, last):
                    continue
                piece = stream.held or _read(path, stream.size)
                stream.held = piece
                name = piece_name(stream.table, self._worker, stream.pieces, piece)
                self._storage.write(self._folders, name, piece)
            except (StorageError, OSError) as error:
                self.trouble = str(error)
                self.failures += 1
                return moved
            if self._ended:
                return moved
            stream.held = b""
            stream.hash.update(piece)
            stream.pieces += 1
            stream.size += len(piece)
            stream.since_s = None
            self.trouble = None
            self._moved_s = self._now_s()
            moved = True
        return moved

    def _due(self, stream: _Stream, waiting: int, last: bool) -> bool:
        if stream.since_s is None:
            stream.since_s = self._now_s()
        return bool(
            last or stream.held or waiting >= PIECE_BYTES or self._now_s() - stream.since_s >= PIECE_S
        )


def _size(path: Path) -> int:
    """Return a file's size, or 0 if it is gone: a master that no longer waits for a slow worker removes its files."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, at: int) -> bytes:
    with path.open("rb") as file:
        file.seek(at)
        return file.read(PIECE_BYTES)
