"""What a scenario needs of this machine: processes, memory, open files, ports.

How much a process carries is measured on the machine itself (`calibration`) or not known; limits are read from the
system.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from loadgen.measure.health import local_ports
from loadgen.planning.calibration import Calibration
from loadgen.planning.fanout import GroupLoad
from loadgen.planning.limits import RESERVE, hard_limit
from loadgen.planning.peaks import Rates, peak
from loadgen.resolve import ResolvedRun

#: How much of a core, or of what it is allowed, a process is planned to use. The verdict calls a run degraded above
#: 90 %; the rest is for what comes unevenly, and for a calibration that moves by a fifth from one time to the next.
PLANNED_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Needs:
    """None: not known."""

    cpu_s_per_s: float | None
    """CPU time of all processes together, per second of the peak."""
    processes: int | None
    rss_bytes: float | None
    """Of all processes together."""
    cpus: float
    """That this machine or container is allowed: by quota, cpuset and affinity."""
    sockets: int
    """Connections: a WebSocket each, and one for each client that publishes by HTTP."""
    sockets_most: int
    """The same if answers are slow: then an HTTP client opens one for each request under way."""
    open_files: int
    """Of each process."""
    open_files_limit: int | None
    ports_limit: int | None
    """Local ports towards one address and port of the target."""

    @property
    def places(self) -> int:
        """How many processes find room here: one a core, and one where there is less than a core."""
        return max(1, int(self.cpus))

    @property
    def idle_alone(self) -> bool:
        """Whether a process that does nothing takes more than it is planned to use of what is allowed."""
        return self.processes is None and self.cpu_s_per_s is not None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def room_of(cpus: float, calibration: Calibration) -> float:
    """Return the CPU time per second that a process is planned to use for its work; zero or less: there is none."""
    return PLANNED_SHARE * min(1.0, cpus) - calibration.idle_cpu_share


def needs(
    run: ResolvedRun,
    loads: Sequence[GroupLoad],
    calibration: Calibration | None,
    cpus: float,
) -> Needs:
    """Return what the scenario needs of a machine or container that is allowed so many CPUs."""
    totals = run.totals
    rates = Rates(run, loads)
    outbound = rates.outbound()
    cpu_s = processes = rss_bytes = None
    if calibration is not None and outbound is not None:
        cpu_s = (
            peak(outbound) * calibration.cpu_s_per_delivery
            + peak(rates.requests(over_http=True)) * calibration.cpu_s_per_http_publish
            + peak(rates.requests(over_http=False)) * calibration.cpu_s_per_websocket_publish
        )
        room = room_of(cpus, calibration)
        processes = max(1, ceil(cpu_s / room)) if room > 0 else None
        if processes is not None:
            cpu_s += processes * calibration.idle_cpu_share
            rss_bytes = (
                processes * calibration.base_rss_bytes
                + totals.websockets * calibration.rss_bytes_per_subscriber
            )
    slow = sum(
        group.count * (group.publish.in_flight or 1) - group.count
        for group in run.groups
        if group.publish is not None and group.publish.over_http
    )
    return Needs(
        cpu_s_per_s=cpu_s,
        processes=processes,
        rss_bytes=rss_bytes,
        cpus=cpus,
        sockets=totals.sockets,
        sockets_most=totals.sockets + slow,
        open_files=-(-totals.sockets // (processes or 1)) + RESERVE,
        open_files_limit=hard_limit(),
        ports_limit=local_ports(),
    )
