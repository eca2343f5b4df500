"""The parts of a record that workers stored in a place: pieces of Arrow streams, checked as they are read.

A worker cuts each of its streams into pieces and stores each as a file,
`PLACE/RUN/worker-0003/deliveries-0003.arrows.000000-SHA256`. The pieces in order are the stream. A piece's name holds
its number and the SHA-256 of its content, so that the pieces of a worker that was killed can be checked too.

All names are made here, from a table, a worker's number and a run's checked name. No name that a record, a worker or a
place holds is used as a path.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import pyarrow as pa
from msgspec import Meta, Struct

from analysis.record import schemas
from analysis.record.places import Place
from analysis.record.schemas import spool_name
from analysis.record.storage import MissingError, Storage, StorageError

#: Most bytes of a piece.
PIECE_BYTES: Final = 8 << 20
#: A run's folder within a place: no separator, and no dot at the beginning.
RUN_PATTERN: Final = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}$"
#: File that a master writes into the run's folder before the run, which shows that the folder is there.
BEGUN: Final = "run.json"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"
_BUFFER_BYTES: Final = 1 << 20
_MOST: Final = 1 << 53

Bytes = Annotated[int, Meta(ge=0, le=_MOST)]
Sha256 = Annotated[str, Meta(pattern=SHA256_PATTERN)]
RunName = Annotated[str, Meta(pattern=RUN_PATTERN)]
TableName = Annotated[str, Meta(pattern=f"^({'|'.join(schemas.SCHEMAS)})$")]


class Part(Struct, frozen=True, kw_only=True):
    """One worker's stream of one table, as it lay in the place when the record was made."""

    worker: Annotated[int, Meta(ge=0, lt=1 << 15)]
    table: TableName
    pieces: Bytes
    bytes: Bytes
    rows: Bytes
    #: SHA-256 of the whole stream.
    sha256: Sha256


class Parts(Struct, frozen=True, kw_only=True):
    """The manifest's `parts`: where the workers stored their rows."""

    #: The place, for people; it is not read unless the user names it (see `trusted`).
    uri: Annotated[str, Meta(max_length=4_000)]
    #: The run's folder in the place.
    run: RunName
    #: True if the run's folder has no tables, so that its rows must be read from the place.
    away: bool = False
    streams: list[Part] = []


@dataclass
class Found:
    """What a reader found of one stream."""

    pieces: int = 0
    bytes: int = 0
    rows: int = 0
    sha256: str = ""
    #: The reason why the stream was not read further, as part of a sentence, or None.
    trouble: str | None = None


def run_name(run: str, token: int) -> str:
    """Return the name of a run's folder in a place; no other run has it, even if its folder has the same name."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", run)[:180].lstrip(".") or "run"
    return f"{safe}-{token:08x}"


def checked_run(name: str) -> str:
    """Return a run's name; raises ValueError if it could name anything but a folder within a place."""
    if not re.fullmatch(RUN_PATTERN, name):
        raise ValueError(
            "the name of the run's folder in the storage has other characters than letters and digits"
        )
    return name


def worker_folder(worker: int) -> str:
    """Return the name of a worker's folder within the run's."""
    return f"worker-{worker:04d}"


def piece_name(table: str, worker: int, number: int, content: bytes) -> str:
    """Return the file name of a piece."""
    return f"{spool_name(table, worker)}.{number:06d}-{hashlib.sha256(content).hexdigest()}"


class StoredWorker:
    """The pieces that one worker has stored."""

    def __init__(self, storage: Storage, run: str, worker: int) -> None:
        """List the pieces; raises StorageError if the place cannot be read."""
        self._storage = storage
        self._worker = worker
        self._folders = (checked_run(run), worker_folder(worker))
        self._sizes = storage.sizes(self._folders)

    def size(self, table: str) -> int:
        """Return the bytes of the pieces of a table that follow one another from the first."""
        pieces, size = self._pieces(table), 0
        for number in range(len(pieces)):
            if len(pieces.get(number, ())) != 1:
                break
            size += self._sizes[pieces[number][0]]
        return size

    def _pieces(self, table: str) -> dict[int, list[str]]:
        """Return the names of the files of each number; more than one is an error."""
        pattern = re.compile(rf"{re.escape(spool_name(table, self._worker))}\.(\d{{6}})-[0-9a-f]{{64}}")
        found: dict[int, list[str]] = {}
        for name in sorted(self._sizes):
            if (match := pattern.fullmatch(name)) is not None:
                found.setdefault(int(match[1]), []).append(name)
        return found

    def batches(self, table: str, found: Found, most: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a table's batches, and note in ``found`` what was read.

        At most ``most`` pieces are read. A missing or altered piece ends the stream; ``found.trouble`` names it.

        Raises:
            StorageError: the place cannot be read.
        """
        names = self._pieces(table)
        count = max(names, default=-1) + 1 if most is None else most
        if not count:
            return
        pieces = _Pieces(self._storage, self._folders, names, count, self.named(table), found)
        try:
            with pa.ipc.open_stream(
                pa.PythonFile(io.BufferedReader(pieces, _BUFFER_BYTES), mode="r")
            ) as reader:
                if not reader.schema.equals(schemas.plain(table)):
                    found.pieces, found.bytes = 0, 0
                    found.trouble = f"{self.named(table)} does not hold rows of {table}"
                    return
                for batch in reader:
                    found.rows += batch.num_rows
                    yield batch
        except (pa.ArrowException, EOFError, OSError, ValueError, StorageError):
            # A stream whose worker was killed breaks off. An error of the place is raised below.
            pass
        pieces.finish()

    def named(self, table: str) -> str:
        """Return how sentences name a stream."""
        return f"{self._folders[1]}/{spool_name(table, self._worker)}"


class _Pieces(io.RawIOBase):
    """The first ``count`` pieces of a stream as one file, each checked against its name before any of it is used."""

    def __init__(
        self,
        storage: Storage,
        folders: tuple[str, ...],
        names: dict[int, list[str]],
        count: int,
        stream: str,
        found: Found,
    ) -> None:
        super().__init__()
        self._storage = storage
        self._folders = folders
        self._names = names
        self._count = count
        self._stream = stream
        self._found = found
        self._hash = hashlib.sha256()
        self._content = memoryview(b"")
        self._failed: StorageError | None = None
        self._over = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return 0 at the end."""
        while not self._content:
            if not self._next():
                return 0
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._content))
        target[:count], self._content = self._content[:count], self._content[count:]
        return count

    def finish(self) -> None:
        """Read the remaining pieces, and note the checksum; raises StorageError if the place could not be read."""
        while self._next():
            pass
        if self._failed is not None:
            raise self._failed
        self._found.sha256 = self._hash.hexdigest()

    def _next(self) -> bool:
        """Read the next piece; return False at the end of the stream or at a piece that cannot be used."""
        number = self._found.pieces
        if self._over or number >= self._count:
            self._over = True
            return False
        content = self._checked(number)
        if content is None:
            self._over = True
            return False
        self._found.pieces += 1
        self._found.bytes += len(content)
        self._hash.update(content)
        self._content = memoryview(content)
        return True

    def _checked(self, number: int) -> bytes | None:
        """Return the content of a piece, or None if it cannot be read or is not what its name says."""
        names = self._names.get(number, [])
        try:
            if len(names) == 1:
                content = self._storage.read(self._folders, names[0], PIECE_BYTES)
                if hashlib.sha256(content).hexdigest() == names[0][-64:]:
                    return content
                what = "is not whole, or was altered"
            else:
                what = f"is there {len(names)} times" if names else "is missing"
        except MissingError:
            what = "is missing"
        except StorageError as error:
            self._failed = error
            return None
        self._found.trouble = f"piece {number} of {self._stream} {what}"
        return None


@dataclass
class StoredRun:
    """The rows of a run in a place."""

    storage: Storage
    run: str
    _workers: dict[int, StoredWorker] = field(default_factory=dict)

    def of(self, worker: int) -> StoredWorker:
        """Return the pieces of one worker; raises StorageError if the place cannot be read."""
        if not self._workers:
            # Without this check, a place that is not mounted would look like workers that stored nothing.
            demand_begun(self.storage, self.run)
        if worker not in self._workers:
            self._workers[worker] = StoredWorker(self.storage, self.run, worker)
        return self._workers[worker]

    def listed(self, parts: list[Part], table: str) -> Iterator[pa.RecordBatch]:
        """Yield the batches of the parts of a table, exactly as they were when the record was made.

        Raises:
            StorageError: a part is missing, short or altered, or the place cannot be read.
        """
        for part in parts:
            if part.table != table or not part.pieces:
                continue
            worker, found = self.of(part.worker), Found()
            yield from worker.batches(table, found, part.pieces)
            if found.trouble is None and (found.sha256, found.rows) != (part.sha256, part.rows):
                found.trouble = f"{worker.named(table)} was altered"
            if found.trouble is not None:
                raise StorageError(found.trouble)


def demand_begun(storage: Storage, run: str) -> None:
    """Raise StorageError if the place has no folder of a run."""
    if BEGUN not in storage.sizes((checked_run(run),)):
        raise StorageError(f"there is no {run}/{BEGUN}")


def trusted(parts: Parts, places: list[Place]) -> Storage | None:
    """Return the storage from which a run's parts may be read, or None if the user has named no place that has them.

    A record may come from someone else, and its `uri` could name anything that this user's credentials can read. So
    only places that the user has named are looked into. They need not be the place where the run wrote: parts may have
    been moved, and their checksums tell if they are the same.
    """
    for place in sorted(places, key=lambda place: place.uri != parts.uri):
        storage = Storage(place)
        if place.uri == parts.uri or BEGUN in storage.sizes((parts.run,)):
            return storage
    return Storage(places[0]) if places else None
