"""Limits by which the verdict judges the load generator itself, during a run and after it."""

from dataclasses import dataclass

_MS = 1_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of the verdict; docs/concepts/verdict.md explains them, docs/reference/gates.md is generated from them."""

    #: Degraded if the generator's own lateness (p99) is above this, and above `lateness_doubtful_share` of the headline
    #: p99.
    lateness_doubtful_ns: int = 2 * _MS
    #: Degraded if the generator's own lateness (p99) is above this share of the headline p99 and above
    #: `lateness_doubtful_ns`.
    lateness_doubtful_share: float = 0.25
    #: Invalid if the generator's own lateness (p99) is above this, and above `lateness_wrong_share` of the headline
    #: p99.
    lateness_wrong_ns: int = 20 * _MS
    #: Invalid if the generator's own lateness (p99) is above this share of the headline p99 and above
    #: `lateness_wrong_ns`.
    lateness_wrong_share: float = 0.5
    #: Share of due events that were never sent: invalid above this, degraded above zero.
    unsent_wrong: float = 0.01
    #: Receive-queue delay (p99): degraded above this. The delay affects kernel stamps only if socket buffers fill up.
    queue_doubtful_ns: int = 100 * _MS
    #: Receive-queue delay (p99): invalid above this.
    queue_wrong_ns: int = 2 * _SECOND_NS
    #: Degraded if uncertain arrivals may lower the headline p99 by more than this and by more than `arrival_share`.
    arrival_ns: int = 500_000
    #: Degraded if uncertain arrivals may lower the headline p99 by more than this share of it and by more than
    #: `arrival_ns`.
    arrival_share: float = 0.1
    #: Share of deliveries with the stamp of a later delivery: degraded above this, if the record does not hold the
    #: uncertainty of each arrival.
    stamps_shared: float = 0.01
    #: Longest stall of the event loop: degraded above this.
    stall_ns: int = 250 * _MS
    #: Share of the measurement spent in stalls longer than `stall_ns`: invalid above this.
    stalled_wrong: float = 0.1
    #: A second is busy if a worker's CPU time, as a share of what it is allowed, is above this.
    busy_cpu: float = 0.9
    #: Share of busy seconds: degraded above this.
    busy_seconds: float = 0.2
    #: Time in the garbage collector within one second: degraded above this.
    gc_pause_ns: int = 100 * _MS
    #: Open files as a share of the process's limit: degraded above this.
    open_files_share: float = 0.9
    #: Local ports in use as a share of the system's range: degraded above this.
    ports_share: float = 0.8
    #: Degraded if the clock error across hosts is above this and above `clock_share`.
    clock_ns: int = 100_000
    #: Degraded if the clock error across hosts is above this share of the headline p99 and above `clock_ns`.
    clock_share: float = 0.1
    #: Step of a clock: invalid from this on. A smaller step degrades if it exceeds `clock_ns` and `clock_share`.
    step_ns: int = _MS
    #: Pause of a worker process: degraded from this on.
    pause_ns: int = 100 * _MS
    #: Suspension of a whole machine including its clocks: degraded from this on.
    frozen_ns: int = 10 * _MS
    #: Pause of a process or suspension of a machine: invalid from this on.
    pause_wrong_ns: int = 200 * _MS
    #: Pause or suspension as a share of the measurement: invalid from this on, because the p99 then includes it.
    pause_wrong_share: float = 0.01
    #: Time in one second for which a CPU quota stopped the processes: degraded from this on, like a machine suspension.
    throttled_ns: int = 10 * _MS
    #: Share of the measurement stopped by a CPU quota: degraded from this on if a single stop exceeds
    #: `throttled_shift`. This is half of the 1 % of samples that lie above a p99.
    throttled_share: float = 0.005
    #: Degraded if a single stop by a CPU quota is longer than this share of the headline p99, and all stops together
    #: took `throttled_share` of the measurement.
    throttled_shift: float = 0.1
    #: Invalid if a single stop by a CPU quota is longer than this share of the headline p99, and all stops together
    #: took `pause_wrong_share` of the measurement.
    throttled_shift_wrong: float = 0.5
    #: Share of the measurement that was stopped by a quota, spent waiting for memory, or lost to steal: the run is
    #: invalid from this share on.
    throttled_wrong: float = 0.1
    #: Time in one second lost to waits for memory or to steal (the hypervisor took the CPUs): degraded from this on.
    waited_ns: int = 100 * _MS
    #: If a quota stop covers at least this share of a pause in the same second, the quota caused the pause.
    throttled_explains: float = 0.8
    #: If a lost worker's container used at least this share of its memory limit in its last second, it is taken to have
    #: run out of memory.
    memory_full: float = 0.9
    #: Time without a health row or report from a worker: invalid above this.
    silence_ns: int = 3 * _SECOND_NS


LIMITS = Limits()


def reads_too_slowly(cpu: float, lag_ns: int, queue_ns: int) -> bool:
    """Return True if the generator itself caused a delay in a socket's receive queue.

    ``queue_ns`` is the delay. ``cpu`` is the worker's CPU time as a share of the time allowed, and ``lag_ns`` the
    lateness of its event loop; pass for each the larger of the values in the second of the delay and in the second
    before. False means that the network lost a segment: TCP delivers in order, so later data waits in the kernel,
    already stamped, until the retransmission arrives.
    """
    return cpu > LIMITS.busy_cpu or lag_ns > min(queue_ns / 4, LIMITS.stall_ns)
