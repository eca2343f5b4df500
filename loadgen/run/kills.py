"""Detect processes that the kernel killed for lack of memory."""

from collections.abc import Callable

from analysis import text
from loadgen.measure.surroundings import allowed_here, oom_kills


class KillWatch:
    """Count the processes of this container that the kernel kills for lack of memory from now on."""

    def __init__(self, read: Callable[[], int | None] = oom_kills) -> None:
        self._read = read
        self._before = read()

    def since(self) -> int | None:
        """Return the number of killed processes, or None if the system does not report it."""
        now = self._read()
        if self._before is None or now is None or now < self._before:
            return None
        return now - self._before


def limit_here() -> str:
    """Return the memory limit of this container as the end of a sentence, or "" if there is none."""
    allowed = allowed_here()
    return f", limit {text.size(allowed.memory_bytes)}" if allowed.memory_limited else ""


def killed_here(count: int) -> str:
    """Return a sentence on ``count`` processes that the kernel killed in the master's container."""
    what = "a process" if count == 1 else f"{count:,} processes"
    return f"the kernel killed {what} beside the master for lack of memory{limit_here()}"
