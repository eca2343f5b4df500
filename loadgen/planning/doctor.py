"""Check this machine for limits and settings that spoil a run, and suggest remedies."""

import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from analysis import text
from loadgen import native
from loadgen.measure.clock_sync import ClockSync, clock_sync
from loadgen.planning.limits import RESERVE, hard_limit
from loadgen.planning.room import Room, notes, restrained, room_here
from loadgen.transport import kernel_time, local_ports

#: If one process, or one address, allows fewer connections than this, the check's result is "limited".
_FEW_CONNECTIONS: Final = 10_000
#: A clock error above this is larger than most latencies between machines.
_FAR_OFF_NS: Final = 5_000_000
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True, slots=True)
class Examined:
    """The result of one check of this machine."""

    name: str
    #: "good"; "limited": runs are valid, but smaller or less exact than they could be; "bad": runs suffer; "unknown".
    state: Literal["good", "limited", "bad", "unknown"]
    found: str
    advice: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return asdict(self)


def examine() -> Iterator[Examined]:
    """Check this machine and yield the results, the most important first."""
    yield receive_path(native.available, os.environ.get("LOADGEN_NATIVE"))
    yield priority(_may_be_real_time)
    yield stamps(_has_kernel_stamps())
    room = room_here()
    yield from cores(room)
    yield memory(room)
    yield open_files(hard_limit())
    yield ports(local_ports.port_range())
    yield clock(clock_sync())
    if (governor := _governor()) is not None:
        yield governor


def receive_path(available: bool, wish: str | None) -> Examined:
    """Return whether deliveries are received in C; ``wish`` is the value of LOADGEN_NATIVE."""
    if available:
        return Examined("receive path", "good", "native (C)")
    if wish == "0":
        return Examined("receive path", "limited", "Python: LOADGEN_NATIVE=0 is set", "unset LOADGEN_NATIVE")
    return Examined(
        "receive path",
        "limited",
        "Python, at about half the speed: the native one was not built",
        "on 64-bit Linux install a C compiler and the headers of Python, then install loadgen again",
    )


def priority(may: Callable[[], bool]) -> Examined:
    """Return whether the receive thread can have real-time priority."""
    if not native.available:
        return Examined("real-time priority", "unknown", "only the native receive path asks for it")
    if may():
        return Examined("real-time priority", "good", "the receive thread gets it")
    return Examined(
        "real-time priority",
        "limited",
        "not allowed: on a busy machine messages are read later, which the record shows as receive-queue delay",
        "allow it with `ulimit -r 1`, CAP_SYS_NICE, or LimitRTPRIO=1 for a service",
    )


def stamps(kernel: bool) -> Examined:
    """Return whether the kernel puts a timestamp on received data."""
    if kernel:
        return Examined("kernel timestamps", "good", "the kernel stamps each arrival")
    return Examined(
        "kernel timestamps",
        "limited",
        "not available: an arrival is the time of the read, so latencies include the generator's own delay",
        "run on 64-bit Linux, without faketime",
    )


def cores(room: Room) -> Iterator[Examined]:
    """Yield the CPUs that a run may use, and whether the machine is busy."""
    found = room.allowed.cores
    if found is None:
        yield Examined("CPUs", "unknown", "the system does not tell")
    elif (limit := restrained(room.allowed)) is not None:
        yield Examined("CPUs", "limited", limit, "raise the quota or the affinity for more load than that")
    elif found < 2:
        yield Examined(
            "CPUs",
            "limited",
            "one: a worker and the embedded server would compete for it",
            "use two or more, or a target on another machine",
        )
    else:
        yield Examined("CPUs", "good", f"{text.cores(found)}, of which the embedded server takes up to one")
    # With 0 processes, `notes` leaves out the notes that depend on the size of a run.
    for note in notes(room, 0, embedded=False):
        yield Examined("load", "bad", note, "stop what else runs here: a run would be judged by it")


def memory(room: Room) -> Examined:
    """Return the memory that a run may use."""
    allowed = room.allowed
    if allowed.memory_bytes is None:
        return Examined("memory", "unknown", "the system does not tell")
    whose = "the container's limit" if allowed.memory_limited else "of the machine"
    found = f"{text.size(allowed.memory_bytes)} ({whose})"
    if allowed.memory_bytes < 2**30:
        return Examined("memory", "limited", found, "allow 1 GB or more")
    return Examined("memory", "good", found)


def open_files(hard: int | None) -> Examined:
    """Return how many connections a process may have by its limit of open files."""
    if hard is None:
        return Examined("open files", "good", "no limit")
    most = max(0, hard - RESERVE)
    found = f"{hard:,}: {most:,} connections a process"
    if most < _FEW_CONNECTIONS:
        advice = "raise the hard limit for more: `ulimit -Hn 1048576` as root, or LimitNOFILE for a service"
        return Examined("open files", "limited", found, advice)
    return Examined("open files", "good", found)


def ports(range_: local_ports.PortRange | None) -> Examined:
    """Return how many connections this machine can open to one address."""
    if range_ is None:
        return Examined("local ports", "unknown", "the system does not tell")
    found = f"{range_.low} to {range_.high}: {range_.count:,} connections to one address and port of a target"
    if range_.count < _FEW_CONNECTIONS:
        advice = "widen the range: `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`"
        return Examined("local ports", "limited", found, advice)
    return Examined("local ports", "good", found)


def clock(found: ClockSync | None) -> Examined:
    """Return whether the clock is synchronised, and how exactly."""
    if found is None:
        return Examined("clock", "unknown", "the system does not tell whether it is synchronised")
    alone = "a run on this machine alone does not need it; several machines measure each other's clocks in the run"
    if not found.synchronised:
        return Examined(
            "clock", "limited", f"not synchronised: {alone}", "run chrony (or another NTP client)"
        )
    error = text.duration(found.max_error_ns)
    if found.max_error_ns > _FAR_OFF_NS:
        return Examined("clock", "limited", f"synchronised, to ±{error}: {alone}", "use a nearer time server")
    return Examined("clock", "good", f"synchronised, to ±{error}")


def _governor() -> Examined | None:
    """Return a remark if the CPU's frequency governor saves power, else None."""
    try:
        name = _GOVERNOR.read_text().strip()
    except OSError:
        return None
    if name != "powersave":
        return None
    return Examined(
        "CPU frequency",
        "limited",
        "the governor is powersave: a CPU that wakes up slowly adds to latencies",
        "`cpupower frequency-set -g performance` for a measurement",
    )


def _has_kernel_stamps() -> bool:
    with socket.socket() as probe:
        return kernel_time.enable(probe)


def _may_be_real_time() -> bool:
    """Return whether this thread may have real-time priority, by setting that priority for a moment."""
    try:
        before, how = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
        os.sched_setscheduler(0, before, how)
    except (AttributeError, OSError):
        return False
    return True
