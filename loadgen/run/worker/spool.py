"""A worker's spool, its rows on disk, and its way to the record.

The master reads the spool in place, or the worker sends it during and after the run, or stores it elsewhere.
"""

from collections.abc import Callable
from typing import Final, Literal

from analysis.record.schemas import spool_name
from loadgen.console import say
from loadgen.exits import why
from loadgen.measure.spool import SpoolWriter
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.spool_transfer import SpoolSender, remove
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.storing import Storing
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import Piece, Stored, StoredFile

#: Seconds without an answer, while the last pieces of a spool are sent, after which the master is taken to be gone.
PATIENCE_S: Final = 30.0
#: Seconds at the end in which no piece could be stored, after which the rest goes to the master: usually, and if the
#: worker was told to end and may soon be killed.
STORAGE_PATIENCE_S: Final = 20.0
SHORT_PATIENCE_S: Final = 8.0
_TELL_S: Final = 1.0
_LOOK_S: Final = 0.02


class OwnSpool:
    """The spool of one worker; ``send`` sends a piece to the master if the folder is not ``shared`` with it.

    With ``storing`` the rows are stored elsewhere, and the master gets only what could not be stored.
    """

    def __init__(
        self,
        writer: SpoolWriter,
        shared: bool,
        send: Callable[[Piece | Stored], None],
        clock: Clock,
        troubles: Troubles,
        storing: Storing | None = None,
    ) -> None:
        self._writer = writer
        self._shared = shared
        self._send = send
        self._storing = storing
        #: Failed attempts to store that were noted.
        self._failures = 0
        #: The sentence on why not all rows could be stored, or None.
        self.unstored: str | None = None
        self._sender = None if shared or storing else SpoolSender(writer.files, send, clock.steady_s)
        self._clock = clock
        self._troubles = troubles

    @property
    def gathered_by(self) -> Literal["shared folder", "messages", "storage"]:
        """The way in which the record gets the rows."""
        if self._storing is not None and self.unstored is None:
            return "storage"
        return "shared folder" if self._sender is None else "messages"

    @property
    def rows(self) -> dict[str, int]:
        """Rows written, by table."""
        return dict(self._writer.rows)

    @property
    def written_bytes(self) -> int:
        """Bytes written to all files."""
        return self._writer.written_bytes

    def totals(self) -> dict[str, int] | None:
        """Return the size of each file, for the master to compare, or None if the master reads the files in place."""
        return None if self._sender is None else self._sender.totals()

    def stored(self) -> dict[str, StoredFile] | None:
        """Return what was stored, by file name, for the master to compare, or None if nothing is stored elsewhere."""
        if self._storing is None:
            return None
        rows = {spool_name(table, self._writer.worker): count for table, count in self.rows.items()}
        return {
            name: StoredFile(
                pieces=stream.pieces, bytes=stream.size, rows=rows.get(name, 0), sha256=stream.sha256
            )
            for name, stream in self._storing.streams().items()
        }

    def pump(self) -> None:
        """Send new data to the master, unless the master shares the spool's folder or the rows are stored elsewhere."""
        storing = self._storing
        if storing is not None and storing.trouble is not None and storing.failures > self._failures:
            self._failures = storing.failures
            self._troubles.on_network(
                f"its rows cannot be stored in {storing.uri} at once ({storing.trouble}): they stay on its"
                " disk, and are stored later or sent to the master"
            )
        if self._sender is None:
            return
        try:
            self._sender.pump()
        except OSError as error:
            self._troubles.on_broken(f"cannot read its record: {why(error)}")

    def on_answer(self, answer: SpoolWritten) -> None:
        """Note how many bytes of a spool file the master has written to its copy, and send more."""
        if self._sender is not None:
            self._sender.on_answer(answer)
            self.pump()

    def close(self) -> None:
        """Close the files: nothing more is recorded."""
        self._writer.close()

    def hand_over(self, patience_s: float) -> None:
        """Store or send the rest of the spool files, and wait until all are stored, or the master has written them.

        Stop waiting if the master is silent for ``patience_s`` seconds or this worker fails.
        """
        if self._storing is not None:
            self._store_rest(self._storing, patience_s)
        sender = self._sender
        if sender is None:
            return
        self.pump()
        while sender.pending() and sender.silent_s < patience_s and self._troubles.broken is None:
            self._clock.sleep(_LOOK_S)
            self.pump()
        if sender.pending():
            say(
                f"the master did not take all of the record of worker {self._writer.worker}:"
                f" {sender.pending():,} bytes are only here, in {self._writer.folder}"
            )

    def _store_rest(self, storing: Storing, patience_s: float) -> None:
        """Store the rest of the files; send those to the master that cannot be stored."""
        storing.finish()
        patience_s = STORAGE_PATIENCE_S if patience_s >= PATIENCE_S else SHORT_PATIENCE_S
        told_s = self._clock.steady_s()
        while storing.pending() and storing.silent_s < patience_s:
            self._clock.sleep(_LOOK_S)
            if self._clock.steady_s() - told_s >= _TELL_S:
                told_s = self._clock.steady_s()
                self._send(Stored(bytes=storing.stored_bytes))
        storing.stop()
        left = storing.unstored()
        if not left:
            return
        self.unstored = (
            f"{storing.pending():,} bytes of its rows could not be stored in {storing.uri}"
            f" ({storing.trouble or 'it is too slow'})"
        )
        where = f"they are in {self._writer.folder}" if self._shared else "they are sent to the master"
        say(f"worker {self._writer.worker}: {self.unstored}: {where}")
        if not self._shared:
            self._sender = SpoolSender(lambda: left, self._send, self._clock.steady_s)

    def remove_what_is_taken(self) -> None:
        """Remove this worker's spool files from its disk if all are stored, or have been sent to the master."""
        if self._storing is not None:
            stored = [path for path in self._writer.files() if path not in self._storing.unstored()]
            remove(stored)
        if self._sender is not None and not self._sender.pending():
            remove(self._writer.files())
