"""Compute when a journey (a user's own code) starts tasks: after a wait (closed loop), or on a schedule (open loop)."""

import inspect
from collections.abc import Callable, Mapping
from random import Random
from types import FunctionType
from typing import Any, Final

from loadgen.measure.clock import Clock, now_ns

#: Wait after a task, in seconds, if the user's own `wait_time` fails.
_AFTER_FAILURE_S: Final = 1.0
_NS: Final = 1_000_000_000


class Schedule:
    """A `wait_time` that starts tasks on a schedule, however long each takes (an open loop)."""

    def __init__(self, rate_per_s: float, poisson: bool) -> None:
        if not 0 < rate_per_s < 1e6:
            raise ValueError(f"a schedule has a rate above 0 and below 1,000,000/s, not {rate_per_s!r}")
        self.period_ns = int(_NS / rate_per_s)
        self.poisson = poisson

    def __call__(self, user: object = None) -> float:
        """Return the mean wait in seconds; the harness itself keeps the schedule."""
        return self.period_ns / _NS

    def __str__(self) -> str:
        """Return the schedule in words."""
        return f"{'poisson' if self.poisson else 'constant'} schedule, {_NS / self.period_ns:g}/s a user"


def schedule(rate_per_s: float, *, poisson: bool = False) -> Schedule:
    """Return a `wait_time` by which each user's tasks are due ``rate_per_s`` times a second, however long they take.

    With ``poisson`` the intervals between due times are drawn from an exponential distribution.

    Raises:
        ValueError: the rate is not above 0.
    """
    return Schedule(rate_per_s, poisson)


def schedule_of(user_class: type) -> Schedule | None:
    """Return the schedule that a user class keeps, or None if it waits after each task (a closed loop)."""
    declared = inspect.getattr_static(user_class, "wait_time", None)
    if isinstance(declared, Schedule):
        return declared
    # Locust implements constant_throughput(rate) as constant_pacing(1 / rate), so the check for constant_pacing covers
    # both.
    period_s = _given(declared, "constant_pacing.<locals>.wait_time_func").get("wait_time")
    if isinstance(period_s, int | float) and period_s > 0:
        return Schedule(1 / period_s, poisson=False)
    return None


def wait_of(user: Any, random: Random) -> Callable[[], Any]:
    """Return the function that gives a user's wait after a task, in seconds.

    Locust's ``between`` draws from the generator of the whole process. Here its waits are drawn from ``random``, so
    that each client has the same waits in every run with the same seed.
    """
    declared = inspect.getattr_static(user, "wait_time", None)
    bounds = _given(declared, "between.<locals>.<lambda>")
    least_s, most_s = bounds.get("min_wait"), bounds.get("max_wait")
    if isinstance(least_s, int | float) and isinstance(most_s, int | float):
        return lambda: random.uniform(least_s, most_s)
    wait: Callable[[], Any] = user.wait_time
    return wait


def _given(declared: Any, name: str) -> Mapping[str, Any]:
    """Return the arguments of Locust's `between` or `constant_pacing` if it made ``declared``, else an empty dict.

    ``name`` is the qualified name of the inner function that Locust's function returns.
    """
    if isinstance(declared, FunctionType) and (declared.__module__, declared.__qualname__) == (
        "locust.user.wait_time",
        name,
    ):
        return inspect.getclosurevars(declared).nonlocals
    return {}


class Moments:
    """The times at which one journey's tasks are due.

    Times are on this process's clock. A task's first publish is due at the end of the wait before the task,
    or at the schedule's time. A task's later publishes are due when its code requests them, because the task
    may have waited for an answer before.
    """

    __slots__ = ("_clock", "_due_ns", "_failed", "_free_ns", "_next_ns", "_random", "_schedule", "_wait")

    def __init__(
        self,
        wait: Callable[[], Any],
        kept: Schedule | None,
        random: Random,
        on_failed: Callable[[BaseException], None],
        clock: Clock = now_ns,
    ) -> None:
        """``wait`` is the user's own `wait_time`; it is ignored if ``kept`` is a schedule."""
        self._wait, self._schedule, self._failed, self._clock = wait, kept, on_failed, clock
        self._random = random
        self._due_ns: int | None = None
        self._free_ns = self._next_ns = 0

    @property
    def open_loop(self) -> bool:
        """True if the tasks are due by a schedule."""
        return self._schedule is not None

    def begin(self) -> None:
        """Make the first task due now."""
        self._free_ns = self._next_ns = self._due_ns = self._clock()

    def wait_s(self) -> float:
        """Return the wait before the next task, in seconds, and remember when that task is due."""
        now = self._free_ns = self._clock()
        if self._schedule is not None:
            step = self._random.expovariate(1.0) if self._schedule.poisson else 1.0
            self._next_ns += int(self._schedule.period_ns * step)
            self._due_ns = self._next_ns
            return max(0, self._next_ns - now) / _NS
        try:
            wait_s = float(self._wait())
            if not 0 <= wait_s < 1e9:
                raise ValueError(f"wait_time() returned {wait_s} seconds")
        except Exception as error:
            self._failed(error)
            wait_s = _AFTER_FAILURE_S
        self._due_ns = now + int(wait_s * _NS)
        return wait_s

    def waited(self) -> None:
        """Make the next publish due when the task requests it, because the task has just waited."""
        self._due_ns = None

    def take(self) -> tuple[int, int]:
        """Return the due time of a publish requested now, and the time from which a delay is the generator's.

        The two differ if the previous task took longer than its slot. Then the target caused the delay up to the second
        time.
        """
        due_ns, self._due_ns = self._due_ns, None
        if due_ns is None:
            due_ns = self._clock()
            return due_ns, due_ns
        return due_ns, max(due_ns, self._free_ns)
