"""Detect pauses of a master's process (times in which it did not run) if no worker runs in it.

Each worker's process detects its own pauses.
"""

from typing import Any

from loadgen.measure.pauses import PauseWatch
from loadgen.run.threads import native_sleep, start_native_thread


class MasterPauses:
    """Collect the master's pauses for the manifest, from :meth:`start` to :meth:`stop`."""

    def __init__(self) -> None:
        self._watch: PauseWatch | None = None
        self._found: list[dict[str, int]] = []

    def start(self) -> None:
        """Watch from now on, in a native thread."""
        self._watch = PauseWatch(native_sleep)
        start_native_thread(self._watch.watch)

    def look(self) -> None:
        """Keep the longest pause since the last call. Shorter ones are dropped, so call this often."""
        if self._watch is None:
            return
        pauses = self._watch.take()
        if pauses.paused_ns and pauses.until_ns is not None:
            self._found.append({"until_ns": pauses.until_ns, "paused_ns": pauses.paused_ns})

    def stop(self) -> list[dict[str, Any]]:
        """Stop watching and return the manifest's `pauses`: the end and length of each, in ns."""
        self.look()
        if self._watch is not None:
            self._watch.running = False
        return list(self._found)
