"""A worker's troubles: its clients' failures, notes for the user about connecting, and reasons to end the run."""

from collections import Counter
from typing import Final

from loadgen.console import say

_MOST_COMPLAINTS: Final = 20
_MOST_NETWORK_NOTES: Final = 50


class Troubles:
    """Count and keep what goes wrong in one worker."""

    def __init__(self, worker: int) -> None:
        self._worker = worker
        #: Number of clients' failures by reason.
        self.complaints: Counter[str] = Counter()
        #: Notes about connecting that users should know, with the number of times each occurred.
        self.network: Counter[str] = Counter()
        #: The reason for which the target permanently refuses this worker, or None.
        self.fatal: str | None = None
        #: The reason why this worker cannot take part in the run, or None.
        self.broken: str | None = None

    def report_error(self, reason: str, fatal: bool) -> None:
        """Count a client's failure by its reason; before the measurement, a ``fatal`` reason ends the run."""
        if reason in self.complaints or len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints[reason] += 1
        if fatal and self.fatal is None:
            self.fatal = reason

    def on_network(self, sentence: str) -> None:
        """Count a note about connecting, such as an address that does not answer; print each different note once."""
        if sentence not in self.network:
            if len(self.network) >= _MOST_NETWORK_NOTES:
                return
            say(f"worker {self._worker}: {sentence}")
        self.network[sentence] += 1

    def on_broken(self, what: str) -> None:
        """Note the first reason why this worker cannot do its part; ``what`` completes a sentence like `worker 3 …`."""
        self.broken = self.broken or f"worker {self._worker} {what}"
