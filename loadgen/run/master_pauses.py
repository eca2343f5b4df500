"""Notices when the master stood still, where it is a process of its own; each worker does the same for itself."""

from typing import Any

from loadgen.measure.pauses import PauseWatch
from loadgen.run.threads import native_sleep, start_native_thread


class MasterPauses:
    """Keeps the master's pauses for the manifest; watches from :meth:`start` to :meth:`stop`."""

    def __init__(self) -> None:
        self._watch: PauseWatch | None = None
        self._found: list[dict[str, int]] = []

    def start(self) -> None:
        """Watch from now on, in a native thread."""
        self._watch = PauseWatch(native_sleep)
        start_native_thread(self._watch.watch)

    def look(self) -> None:
        """Take what was noticed since the last call: call often, as of two pauses only the longer is kept."""
        if self._watch is None:
            return
        pauses = self._watch.take()
        if pauses.paused_ns and pauses.until_ns is not None:
            self._found.append({"until_ns": pauses.until_ns, "paused_ns": pauses.paused_ns})

    def stop(self) -> list[dict[str, Any]]:
        """Return the manifest's `pauses`: when each ended, and how long it lasted."""
        self.look()
        if self._watch is not None:
            self._watch.running = False
        return list(self._found)
