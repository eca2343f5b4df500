"""Samples the health of the load generator itself, once a second."""

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from loadgen.measure.clock import ClockWatch, now_ns
from loadgen.measure.pauses import Pauses, PauseWatch
from loadgen.measure.surroundings import Around, Surroundings

TICK_S = 0.02
_DESCRIPTORS = "/proc/self/fd"


class HealthSample(NamedTuple):
    """One row of the record's health table, without the worker column; see results/README.md."""

    time_ns: int
    interval_ns: int
    cpu_ns: int
    lag_max_ns: int
    late_max_ns: int | None
    queue_max_ns: int | None
    deliveries: int
    published: int
    gc_ns: int
    rss_bytes: int
    open_files: int
    open_files_limit: int | None
    ports: int
    ports_limit: int | None
    clock_moved_ns: int
    paused_ns: int | None = None
    paused_until_ns: int | None = None
    suspended_ns: int | None = None
    receive_cpu_ns: int | None = None
    around: Around = Around()

    def row(self) -> tuple[int | None, ...]:
        """Return the values in the order of the table's columns."""
        *own, around = self
        return (*own, *around)

    def to_dict(self) -> dict[str, int | None]:
        """Return the values keyed by column."""
        own = self._asdict()
        around: Around = own.pop("around")
        return {**own, **around._asdict()}


class HealthSampler:
    """Measures event-loop lag, CPU time and garbage collection between two calls of :meth:`sample`.

    ``sleep`` is the cooperative sleep of the loop whose lag is measured. The caller runs ``pauses.watch`` in a thread;
    if ``pauses`` is None, the samples have no figures on pauses. ``receive_cpu_ns`` returns the CPU time of the receive
    thread, or None if there is no such thread now.
    """

    def __init__(
        self,
        sleep: Callable[[float], Any],
        pauses: PauseWatch | None = None,
        receive_cpu_ns: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._sleep = sleep
        self._pauses = pauses
        self._process = psutil.Process()
        #: Samples cgroups, pressure and steal. Reading EC2's network allowances is slow, so the caller runs
        #: `surroundings.allowances.watch` in a thread.
        self.surroundings = Surroundings()
        self._lag_max_ns = 0
        self._gc_started_ns = 0
        self._gc_ns = 0
        self._cpu_ns = time.process_time_ns()
        self._receive_cpu_ns = receive_cpu_ns
        #: CPU time of the receive thread at the last sample; 0 before the thread begins.
        self._received_ns = receive_cpu_ns() or 0
        self._since_ns = time.monotonic_ns()
        # Each descriptor opened from now on is assumed to be a socket with a local port of its own.
        self._files_at_start = _open_files()
        self._open_files_limit = _open_files_limit()
        self._ports_limit = local_ports()
        self._clock = ClockWatch()
        self.running = False

    def watch(self) -> None:
        """Run a short timer again and again until :attr:`running` is false; the lag is the timer's delay."""
        self.running = True
        gc.callbacks.append(self._on_gc)
        tick_ns = int(TICK_S * 1e9)
        try:
            while self.running:
                before = time.monotonic_ns()
                self._sleep(TICK_S)
                lag_ns = time.monotonic_ns() - before - tick_ns
                if lag_ns > self._lag_max_ns:
                    self._lag_max_ns = lag_ns
        finally:
            gc.callbacks.remove(self._on_gc)

    def _on_gc(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = time.monotonic_ns()
        else:
            self._gc_ns += time.monotonic_ns() - self._gc_started_ns

    def sample(self, published: int, late_max_ns: int | None) -> HealthSample:
        """Return a sample of the time since the last call; the caller fills in `deliveries` and `queue_max_ns`."""
        cpu_ns, monotonic_ns = time.process_time_ns(), time.monotonic_ns()
        received_ns = self._receive_cpu_ns()
        interval_ns = monotonic_ns - self._since_ns
        open_files = _open_files()
        paused = Pauses() if self._pauses is None else self._pauses.take()
        sample = HealthSample(
            time_ns=now_ns(),
            interval_ns=interval_ns,
            cpu_ns=cpu_ns - self._cpu_ns,
            lag_max_ns=self._lag_max_ns,
            late_max_ns=late_max_ns,
            queue_max_ns=None,
            deliveries=0,
            published=published,
            gc_ns=self._gc_ns,
            rss_bytes=self._process.memory_info().rss,
            open_files=open_files,
            open_files_limit=self._open_files_limit,
            ports=max(0, open_files - self._files_at_start),
            ports_limit=self._ports_limit,
            clock_moved_ns=self._clock.moved_ns(),
            paused_ns=None if self._pauses is None else paused.paused_ns,
            paused_until_ns=paused.until_ns,
            suspended_ns=paused.suspended_ns,
            receive_cpu_ns=None if received_ns is None else received_ns - self._received_ns,
            around=self.surroundings.take(interval_ns),
        )
        self._received_ns = received_ns or 0
        self._cpu_ns, self._since_ns, self._lag_max_ns, self._gc_ns = cpu_ns, monotonic_ns, 0, 0
        return sample


def _open_files() -> int:
    """Return how many file descriptors this process has open, or -1 if the system does not say."""
    try:
        # On Linux 6.2 and later, the size of this folder is the number of descriptors. Earlier kernels give 0, so the
        # folder must be listed, which takes thousands of times as long for 15,000 descriptors.
        said = os.stat(_DESCRIPTORS).st_size  # noqa: PTH116  a Path is not needed
        return said or len(os.listdir(_DESCRIPTORS))  # noqa: PTH208  a Path for each entry would be slow
    except OSError:
        return -1


def _open_files_limit() -> int | None:
    """Return how many descriptors this process may have open, or None if there is no limit or it is unknown."""
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else min(soft, 2**31 - 1)


def local_ports() -> int | None:
    """Return how many local ports connections to one address and port can use, or None if unknown."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(high) - int(low) + 1
    except (OSError, ValueError):
        return None
