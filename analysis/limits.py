"""What is still good of the generator's own doing: the limits of the verdict, after a run and while it goes on."""

from dataclasses import dataclass

_MS = 1_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """What is still good; the reasons are in docs/concepts/verdict.md, the table there is made from this."""

    #: Generator's own lateness (p99 of sent − slot) from which on a run is degraded, where it also is …
    lateness_doubtful_ns: int = 2 * _MS
    #: … above this share of the headline p99.
    lateness_doubtful_share: float = 0.25
    #: The same for invalid: the lateness, …
    lateness_wrong_ns: int = 20 * _MS
    #: … and its share of the headline p99.
    lateness_wrong_share: float = 0.5
    #: Share of events that were due and never sent: invalid above it, degraded above none.
    unsent_wrong: float = 0.01
    #: Receive-queue delay (p99): degraded. Kernel stamps are not touched by it until the socket buffers fill.
    queue_doubtful_ns: int = 100 * _MS
    #: Receive-queue delay (p99): invalid.
    queue_wrong_ns: int = 2 * _SECOND_NS
    #: By how much the headline p99 may be smaller since arrivals are uncertain: degraded above this, where it also is …
    arrival_ns: int = 500_000
    #: … above this share of the headline p99.
    arrival_share: float = 0.1
    #: Of a record that does not say how uncertain arrivals are: share of deliveries with the stamp of a later one.
    stamps_shared: float = 0.01
    #: One stall of the event loop: degraded.
    stall_ns: int = 250 * _MS
    #: Share of the measurement in such stalls: invalid.
    stalled_wrong: float = 0.1
    #: CPU of a worker in one second, as a share of what it is allowed, from which on that second counts as busy.
    busy_cpu: float = 0.9
    #: Share of busy seconds: degraded.
    busy_seconds: float = 0.2
    #: Time in the garbage collector within one second: degraded.
    gc_pause_ns: int = 100 * _MS
    #: Open files, as a share of what the process may have: degraded.
    open_files_share: float = 0.9
    #: Local ports, as a share of the system's range: degraded.
    ports_share: float = 0.8
    #: Error of the clocks across hosts: degraded above this, and …
    clock_ns: int = 100_000
    #: … above this share of the headline p99.
    clock_share: float = 0.1
    #: A step of a clock: invalid; a smaller one degrades the run by the two limits above.
    step_ns: int = _MS
    #: A pause of a worker's process: degraded from this on.
    pause_ns: int = 100 * _MS
    #: A machine that stood still, clocks and all: degraded from this on.
    frozen_ns: int = 10 * _MS
    #: A pause of either kind: invalid from this on, …
    pause_wrong_ns: int = 200 * _MS
    #: … or if it took this share of the measurement: then it is in the p99.
    pause_wrong_share: float = 0.01
    #: Time for which a CPU quota held everything back in one second: degraded, as a machine that stood still.
    throttled_ns: int = 10 * _MS
    #: Share of the measurement held back: degraded above this (half of what lies beyond a p99), where one stop is …
    throttled_share: float = 0.005
    #: … above this share of the headline p99; …
    throttled_shift: float = 0.1
    #: … invalid where it took `pause_wrong_share` of the measurement and one stop is above this share of the p99 …
    throttled_shift_wrong: float = 0.5
    #: … or took this share of the measurement. The same for waits for memory and for steal.
    throttled_wrong: float = 0.1
    #: Time in one second for which tasks waited for memory, or the hypervisor took the CPUs: degraded.
    waited_ns: int = 100 * _MS
    #: Time held back by a quota, as a share of a pause in the same second, from which on the quota was the pause.
    throttled_explains: float = 0.8
    #: Memory of a container in its last second, as a share of its limit, from which on a worker that is gone is taken
    #: to have ended for want of it.
    memory_full: float = 0.9
    #: Time without a sign of a worker: invalid.
    silence_ns: int = 3 * _SECOND_NS


LIMITS = Limits()


def reads_too_slowly(cpu: float, lag_ns: int, queue_ns: int) -> bool:
    """Return whether a wait in the socket is the generator's doing, by the worse of that second and the one before.

    ``cpu`` is a share of what the worker is allowed, ``lag_ns`` by how much the event loop was late. Else data came
    behind a segment that was lost on the way: TCP gives it out in order, and it waits in the kernel, stamped, until
    that was sent again.
    """
    return cpu > LIMITS.busy_cpu or lag_ns > min(queue_ns / 4, LIMITS.stall_ns)
