"""A reason to doubt a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One reason to doubt."""

    #: `degraded` or `invalid`.
    severity: str
    #: What it is about: user code, harness, record, ledger, pause, throttling, memory, steal, network, clock, schedule,
    #: queue, loop, cpu, gc, files, ports.
    subject: str
    reason: str
    advice: str
    #: By how much it shifts or delays what is measured, at most; None if that is not known.
    size_ns: int | None = None
