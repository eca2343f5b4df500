"""A worker process as the master knows it."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

#: Id of the worker in the master's own process.
LOCAL: Final = "local"


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker process, by its own word."""

    worker_id: str
    worker: int
    """Its number, from 0."""
    weight: Fraction = Fraction(1)
    hostname: str = ""
    address: str | None = None
    """Its own address on the way to the master; None: not known, or the same process."""
    pid: int = 0
    boot_id: str | None = None
    cpus: int | None = None

    @property
    def name(self) -> str:
        """How it is called in a sentence."""
        return f"worker {self.worker} ({self.address or self.hostname}, pid {self.pid})"

    @property
    def in_master(self) -> bool:
        """Whether it is the master's own process."""
        return self.worker_id == LOCAL
