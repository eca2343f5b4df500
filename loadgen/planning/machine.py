"""Estimate what a scenario needs of this machine: processes, memory, open files, ports.

The load that one process can carry comes from this machine's calibration (`calibration`); without one it is unknown.
Limits are read from the system.
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

#: Share of a core, or of its CPU quota, that a process is planned to use. The verdict calls a run degraded above 90 %;
#: the margin is for uneven load and for calibrations, which vary by a fifth from one to the next.
PLANNED_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Needs:
    """Resources that a scenario needs of this machine, and the machine's limits; None means unknown or no limit."""

    cpu_s_per_s: float | None
    """CPU time of all processes together, per second at the peak."""
    processes: int | None
    rss_bytes: float | None
    """Memory of all processes together."""
    cpus: float
    """CPUs this machine or container may use, by quota, cpuset and affinity."""
    sockets: int
    """Connections: one per WebSocket, and one per client that publishes over HTTP."""
    sockets_most: int
    """Connections if answers are slow: an HTTP client then opens one connection for each unanswered request."""
    open_files: int
    """Open files per process."""
    open_files_limit: int | None
    ports_limit: int | None
    """Local ports available towards one address and port of the target."""

    @property
    def places(self) -> int:
        """Number of processes that fit on this machine: one per whole core, at least one."""
        return max(1, int(self.cpus))

    @property
    def idle_alone(self) -> bool:
        """True if an idle process alone uses all the CPU time that a process is planned to use."""
        return self.processes is None and self.cpu_s_per_s is not None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def room_of(cpus: float, calibration: Calibration) -> float:
    """Return the CPU time per second that a process can spend on load, after its idle share; may be negative."""
    return PLANNED_SHARE * min(1.0, cpus) - calibration.idle_cpu_share


def needs(
    run: ResolvedRun,
    loads: Sequence[GroupLoad],
    calibration: Calibration | None,
    cpus: float,
) -> Needs:
    """Return what the scenario needs of a machine or container that may use ``cpus`` CPUs."""
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
