"""Limits by which the verdict judges the load generator itself, during a run and after it."""

from dataclasses import dataclass

_MS = 1_000_000
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Limits:
    """Limits of the verdict.

    docs/concepts/verdict.md explains the limits. docs/reference/gates.md is generated from this class.
    """

    #: Lateness of publishes caused by the generator itself (p99): degraded above this, if it is also above
    #: `lateness_doubtful_share` of the headline p99 (the p99 of `delivery.latency`).
    lateness_doubtful_ns: int = 2 * _MS
    #: Lateness of publishes caused by the generator itself (p99), as a share of the headline p99 (the p99 of
    #: `delivery.latency`): degraded above this, if the lateness is also above `lateness_doubtful_ns`.
    lateness_doubtful_share: float = 0.25
    #: Lateness of publishes caused by the generator itself (p99): invalid above this, if it is also above
    #: `lateness_wrong_share` of the headline p99 (the p99 of `delivery.latency`).
    lateness_wrong_ns: int = 20 * _MS
    #: Lateness of publishes caused by the generator itself (p99), as a share of the headline p99 (the p99 of
    #: `delivery.latency`): invalid above this, if the lateness is also above `lateness_wrong_ns`.
    lateness_wrong_share: float = 0.5
    #: Share of due events that were never sent: invalid above this, degraded above zero.
    unsent_wrong: float = 0.01
    #: Time that deliveries waited in the receive queue (p99): degraded above this. With kernel timestamps, the wait
    #: affects latencies only if socket buffers fill up.
    queue_doubtful_ns: int = 100 * _MS
    #: Time that deliveries waited in the receive queue (p99): invalid above this.
    queue_wrong_ns: int = 2 * _SECOND_NS
    #: Degraded if inexact arrival times may overstate the headline p99 (the p99 of `delivery.latency`) by more than
    #: this and by more than `arrival_share`.
    arrival_ns: int = 500_000
    #: Degraded if inexact arrival times may overstate the headline p99 (the p99 of `delivery.latency`) by more than
    #: this share of it and by more than `arrival_ns`.
    arrival_share: float = 0.1
    #: Share of deliveries that have the kernel timestamp of a later delivery: degraded above this. Used only for older
    #: records, which do not hold how exact each arrival time is.
    stamps_shared: float = 0.01
    #: Longest stall of the event loop: degraded above this.
    stall_ns: int = 250 * _MS
    #: Share of the measurement spent in stalls longer than `stall_ns`: invalid above this.
    stalled_wrong: float = 0.1
    #: A second counts as busy if a worker used more than this share of the CPU time that it is allowed.
    busy_cpu: float = 0.9
    #: Share of busy seconds: degraded above this.
    busy_seconds: float = 0.2
    #: Time in the garbage collector within one second: degraded above this.
    gc_pause_ns: int = 100 * _MS
    #: Open files as a share of the process's limit: degraded above this.
    open_files_share: float = 0.9
    #: Local ports in use as a share of the system's range: degraded above this.
    ports_share: float = 0.8
    #: Error of the clocks across hosts: degraded above this, if it is also above `clock_share` of the headline p99 (the
    #: p99 of `delivery.latency`).
    clock_ns: int = 100_000
    #: Error of the clocks across hosts, as a share of the headline p99 (the p99 of `delivery.latency`): degraded above
    #: this, if the error is also above `clock_ns`.
    clock_share: float = 0.1
    #: Step of a clock: invalid from this on. After a smaller step the run is degraded if the step is at least
    #: `clock_ns` and at least `clock_share` of the headline p99 (the p99 of `delivery.latency`).
    step_ns: int = _MS
    #: Pause of the master or of a worker process: degraded from this on.
    pause_ns: int = 100 * _MS
    #: Pause or suspension of a whole machine: degraded from this on.
    frozen_ns: int = 10 * _MS
    #: Pause of a worker process or of a whole machine: invalid from this on.
    pause_wrong_ns: int = 200 * _MS
    #: Pause of a worker process or of a whole machine, as a share of the measurement: invalid from this on, because the
    #: p99 then includes the pause.
    pause_wrong_share: float = 0.01
    #: Time in one second for which a CPU quota stopped the processes: degraded from this on, as with `frozen_ns`.
    throttled_ns: int = 10 * _MS
    #: Share of the measurement for which a CPU quota stopped the processes: degraded from this on, if a single stop is
    #: longer than `throttled_shift` of the headline p99 (the p99 of `delivery.latency`). The value is half of the 1 %
    #: of samples that lie above a p99.
    throttled_share: float = 0.005
    #: Length of a single stop by a CPU quota, as a share of the headline p99 (the p99 of `delivery.latency`): degraded
    #: above this, if all stops together took at least `throttled_share` of the measurement.
    throttled_shift: float = 0.1
    #: Length of a single stop by a CPU quota, as a share of the headline p99 (the p99 of `delivery.latency`): invalid
    #: above this, if all stops together took at least `pause_wrong_share` of the measurement.
    throttled_shift_wrong: float = 0.5
    #: Share of the measurement for which a CPU quota stopped the processes, they waited for memory, or the hypervisor
    #: took the CPUs (steal): invalid if one of the three shares is at least this.
    throttled_wrong: float = 0.1
    #: Time in one second for which processes waited for memory, or the hypervisor took the CPUs (steal): degraded if
    #: one of the two is at least this.
    waited_ns: int = 100 * _MS
    #: A pause is put down to the CPU quota if the quota stopped the processes for at least this share of the pause's
    #: length in the same second.
    throttled_explains: float = 0.8
    #: A lost worker is taken to have run out of memory if its container used at least this share of the memory limit in
    #: the worker's last second.
    memory_full: float = 0.9
    #: Time without a health row or a report from one worker: invalid above this.
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
