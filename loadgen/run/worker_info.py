"""The master's description of a worker process."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

#: Id of the worker in the master's own process.
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process, as it introduced itself."""

    worker_id: str
    worker: int
    """The worker's number, from 0."""
    weight: Fraction = Fraction(1)
    hostname: str = ""
    address: str | None = None
    """Address from which the worker connects to the master, or None if unknown or if both are one process."""
    pid: int = 0
    boot_id: str | None = None
    cpus: int | None = None

    @property
    def name(self) -> str:
        """The worker's name in sentences."""
        return f"worker {self.worker} ({self.address or self.hostname}, pid {self.pid})"

    @property
    def in_master(self) -> bool:
        """True if the worker runs in the master's process."""
        return self.worker_id == LOCAL
