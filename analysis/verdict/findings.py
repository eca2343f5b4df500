"""A reason to doubt a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One reason to doubt a run, with advice."""

    #: The verdict that the finding alone would give: `degraded` or `invalid`.
    severity: str
    #: The topic: user code, harness, record, ledger, pause, throttling, memory, steal, network, clock, schedule,
    #: queue, arrival, loop, cpu, gc, files, ports.
    subject: str
    reason: str
    advice: str
    #: Upper bound, in ns, on the shift or delay of the measured figures, or None if unknown.
    size_ns: int | None = None
