"""Estimate the machines a scenario needs: worker processes, memory, addresses, network, time to connect, money.

Figures follow from the scenario, from this machine's calibration (`calibration`), from limits read from the system, and
from the machines that the caller describes; each line's `basis` names its sources. The load itself is not run, so the
figures leave out effects of the network and the service.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from analysis import text
from loadgen.measure.health import local_ports
from loadgen.planning.calibration import Calibration
from loadgen.planning.limits import RESERVE
from loadgen.planning.machine import PLANNED_SHARE, Needs, room_of

#: Longest time a worker may take to read one event that reaches all its subscribers at once. The verdict calls the
#: receive queue doubtful above this.
BURST_S = 0.1
#: Share of a machine's memory that workers may use.
MEMORY_SHARE = 0.8
#: Bytes per event in addition to its payload: 76 for the rest of the `data` message (id of 36 characters, escaped
#: quotes), 4 of WebSocket header, 66 of Ethernet, IP and TCP with timestamps, at one event per segment.
FRAME_BYTES = 146


@dataclass(frozen=True, slots=True)
class Machines:
    """The kind of machine that workers run on; a value is None if it is unknown."""

    cpus: float
    memory_bytes: float | None
    usd_per_hour: float | None = None
    target_addresses: int = 1
    """Number of addresses that the target's name resolves to. Each can be reached from the full local port range."""
    hours: float = 1.0
    """Time the machines are rented for."""


@dataclass(frozen=True, slots=True)
class Line:
    """One figure as text, and the measurements and limits it follows from."""

    name: str
    shown: str
    basis: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines and resources a scenario needs; None means unknown."""

    machines: Machines
    workers: int | None
    workers_for_load: int | None
    workers_for_connects: int | None
    workers_for_bursts: int | None
    machines_needed: int | None
    machines_for_workers: int | None
    machines_for_memory: int | None
    subscribers_per_worker: int | None
    connections_per_machine: int | None
    source_addresses: int | None
    """Addresses to connect from, per machine."""
    open_files: int | None
    """Open files per worker process."""
    rss_bytes: float | None
    """Memory of all workers together."""
    connect_s: float
    """Time from the first connect to the last."""
    connects_per_s: float
    bits_in_per_s: float | None
    """Peak inbound traffic of all machines together."""
    record_bytes_per_s: float | None
    """Peak spool transfer from all workers to the master, which is also the write rate of the master's disk."""
    burst_s: float | None
    """Time a worker needs to read one event that reaches all its subscribers at once."""
    usd_per_hour: float | None
    usd: float | None
    lines: tuple[Line, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Asked:
    """The scenario's demands on a fleet."""

    needs: Needs
    connections: int
    connects_per_s: float
    """Sum of all groups' ramps."""
    connect_s: float
    """Time from the first connect to the last, by the scenario's ramps."""
    most_at_once: float | None
    """Average number of subscribers that an event reaches, in the publishing group with the highest average."""
    deliveries_per_s: float | None
    event_bytes: float
    connect_quota: float | None
    """The service's quota of new connections per second."""


def fleet(asked: Asked, calibration: Calibration | None, machines: Machines) -> Fleet:
    """Return the fleet of ``machines`` that the scenario needs."""
    rate = asked.connects_per_s
    if asked.connect_quota is not None:
        rate = min(rate, asked.connect_quota)
    connect_s = max(asked.connect_s, asked.connections / rate if rate else 0.0)
    load = connects = bursts = workers = None
    burst_s = rss = None
    kept, needs = calibration, asked.needs
    room = 0.0 if kept is None else room_of(machines.cpus, kept)
    if kept is not None and room > 0 and (load := _processes(needs, kept, machines.cpus)) is not None:
        connects = max(1, ceil(rate * kept.cpu_s_per_connect / room))
        most = asked.most_at_once or 0.0
        bursts = max(1, ceil(most * kept.cpu_s_per_delivery / BURST_S))
        workers = max(load, connects, bursts)
        burst_s = most / workers * kept.cpu_s_per_delivery
        rss = workers * kept.base_rss_bytes + asked.connections * kept.rss_bytes_per_subscriber
    for_workers = None if workers is None else ceil(workers / max(1, int(machines.cpus)))
    for_memory = (
        None
        if rss is None or machines.memory_bytes is None
        else ceil(rss / (MEMORY_SHARE * machines.memory_bytes))
    )
    needed = None if for_workers is None else max(for_workers, for_memory or 1)
    each = None if needed is None else ceil(asked.connections / needed)
    ports = local_ports()
    addresses = (
        None if each is None or ports is None else max(1, ceil(each / (ports * machines.target_addresses)))
    )
    per_worker = None if workers is None else ceil(asked.connections / workers)
    out = asked.deliveries_per_s
    hourly = None if needed is None or machines.usd_per_hour is None else (needed + 1) * machines.usd_per_hour
    found = Fleet(
        machines=machines,
        workers=workers,
        workers_for_load=load,
        workers_for_connects=connects,
        workers_for_bursts=bursts,
        machines_needed=needed,
        machines_for_workers=for_workers,
        machines_for_memory=for_memory,
        subscribers_per_worker=per_worker,
        connections_per_machine=each,
        source_addresses=addresses,
        open_files=None if per_worker is None else per_worker + RESERVE,
        rss_bytes=rss,
        connect_s=connect_s,
        connects_per_s=rate,
        bits_in_per_s=None if out is None else out * (asked.event_bytes + FRAME_BYTES) * 8,
        record_bytes_per_s=None if out is None or kept is None else out * kept.record_bytes_per_delivery,
        burst_s=burst_s,
        usd_per_hour=hourly,
        usd=None if hourly is None else hourly * machines.hours,
    )
    return Fleet(**{**_fields(found), "lines": tuple(_lines(found, asked, kept, ports))})


def _processes(needs: Needs, kept: Calibration, cpus: float) -> int | None:
    """Return the number of worker processes for the load on machines with ``cpus`` CPUs, or None if unknown."""
    if needs.cpu_s_per_s is None:
        return needs.processes
    if needs.processes is not None and min(1.0, cpus) == min(1.0, needs.cpus):
        return needs.processes
    # `cpu_s_per_s` includes the idle share of the processes planned for this machine: subtract it.
    work = needs.cpu_s_per_s - (needs.processes or 0) * kept.idle_cpu_share
    return max(1, ceil(round(work / room_of(cpus, kept), 9)))


def _fields(found: Fleet) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Fleet.__slots__}


def _lines(found: Fleet, asked: Asked, kept: Calibration | None, ports: int | None) -> Iterator[Line]:
    machines = found.machines
    if kept is None:
        measured = "unknown: run `loadgen plan --calibrate` first"
    else:
        measured = f"measured on {kept.machine.get('hostname', 'this machine')}, {kept.measured_at}"
    cpu = "" if kept is None else f"{kept.cpu_s_per_delivery * 1e6:.1f} µs a delivery, "
    yield Line(
        "workers",
        _count(found.workers),
        f"the most of {_count(found.workers_for_load)} for the load, {_count(found.workers_for_connects)} for the"
        f" connects, {_count(found.workers_for_bursts)} for reading one event in {BURST_S * 1e3:g} ms;"
        f" {cpu}{PLANNED_SHARE:.0%} of {_core(machines.cpus)} each; {measured}",
    )
    yield Line(
        "machines",
        "–" if found.machines_needed is None else f"{found.machines_needed:,} and the master's",
        f"{text.cores(machines.cpus)}, a worker each; {text.size(machines.memory_bytes)} of memory,"
        f" {MEMORY_SHARE:.0%} of it for workers (as given, or this machine's)",
    )
    yield Line(
        "memory of all workers",
        text.size(found.rss_bytes),
        measured
        if kept is None
        else f"{kept.base_rss_bytes / 1e6:.0f} MB a worker and {kept.rss_bytes_per_subscriber / 1e3:.1f} KB a"
        f" subscriber; {measured}",
    )
    yield Line(
        "subscribers of a worker",
        _count(found.subscribers_per_worker),
        f"shared evenly; {_count(found.open_files)} open files a process (`ulimit -n`)",
    )
    shown = "an unknown number of" if ports is None else f"{ports:,}"
    yield Line(
        "source addresses of a machine",
        _count(found.source_addresses),
        f"{_count(found.connections_per_machine)} connections, {shown} local ports (ip_local_port_range, read here)"
        f" an address towards each address of the target, of which there are {machines.target_addresses} (as given);"
        " several by LOADGEN_SOURCE_ADDRESSES",
    )
    quota = (
        "no quota known"
        if asked.connect_quota is None
        else f"the service's quota {asked.connect_quota:,.0f}/s"
    )
    yield Line(
        "time to connect",
        text.duration(found.connect_s * 1e9),
        f"{found.connects_per_s:,.0f} new connections/s: the smaller of the scenario's ramp"
        f" {asked.connects_per_s:,.0f}/s and {quota}"
        + ("" if kept is None else f"; {kept.cpu_s_per_connect * 1e6:.0f} µs of CPU each, measured"),
    )
    bits = None if found.bits_in_per_s is None else found.bits_in_per_s / 1e6
    share = None if bits is None or not found.machines_needed else bits / found.machines_needed
    yield Line(
        "network, events in",
        "–" if bits is None else f"{bits:,.0f} Mbit/s",
        f"at the peak, {'–' if share is None else f'{share:,.0f}'} Mbit/s a machine; the largest payload and"
        f" {FRAME_BYTES} bytes of envelope and headers",
    )
    yield Line(
        "network, record to the master",
        "–" if found.record_bytes_per_s is None else f"{found.record_bytes_per_s / 1e6:,.1f} MB/s",
        "at the peak, and the same to its disk; "
        + (
            measured if kept is None else f"{kept.record_bytes_per_delivery:.1f} bytes a delivery, {measured}"
        ),
    )
    yield Line(
        "reading one event",
        "–" if found.burst_s is None else text.duration(found.burst_s * 1e9),
        "in each worker, when all its subscribers get it at once; kernel timestamps keep it out of the latency",
    )
    yield Line(
        "machines' price",
        "–" if found.usd_per_hour is None else f"${found.usd_per_hour:,.2f} an hour",
        "not known: give --machine-usd"
        if machines.usd_per_hour is None
        else f"${machines.usd_per_hour:g} a machine and hour (as given), the master's included; the service's own"
        " price stands above",
    )


def _core(cpus: float) -> str:
    return "a core" if cpus >= 1 else text.cores(cpus)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
