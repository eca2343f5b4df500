"""A worker's spool, its rows on disk: the master reads it in place, or the worker sends it during and after the run."""

from collections.abc import Callable
from typing import Final, Literal

from loadgen.console import say
from loadgen.exits import why
from loadgen.measure.spool import SpoolWriter
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.spool_transfer import SpoolSender, remove
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import Piece

#: Seconds without an answer, while the last pieces of a spool are sent, after which the master is taken to be gone.
PATIENCE_S: Final = 30.0
_LOOK_S: Final = 0.02


class OwnSpool:
    """The spool of one worker; ``send`` sends a piece to the master if the folder is not ``shared`` with it."""

    def __init__(
        self,
        writer: SpoolWriter,
        shared: bool,
        send: Callable[[Piece], None],
        clock: Clock,
        troubles: Troubles,
    ) -> None:
        self._writer = writer
        self._sender = None if shared else SpoolSender(writer.files, send, clock.steady_s)
        self._clock = clock
        self._troubles = troubles

    @property
    def gathered_by(self) -> Literal["shared folder", "messages"]:
        """The way in which the master gets the record."""
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

    def pump(self) -> None:
        """Send the new data of the spool to the master, unless the master shares the spool's folder."""
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
        """Send the rest of the spool files, and wait until the master has written everything.

        Stop waiting if the master is silent for ``patience_s`` seconds or this worker fails.
        """
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

    def remove_what_is_taken(self) -> None:
        """Remove this worker's spool files from its disk if they have all been sent to the master."""
        if self._sender is not None and not self._sender.pending():
            remove(self._writer.files())
