"""The load shape: tells Locust how many users to spawn, and when to stop."""

import copy
from typing import Protocol, Self

from locust import LoadTestShape

from loadgen.run.locust.master_run import MasterRun

#: Locust calls a load shape once a second.
_TICK_S = 1.0


class Runs(Protocol):
    """The runs of a process: see `MasterSide`."""

    @property
    def run(self) -> MasterRun | None:
        """The current or last run."""

    @property
    def total_users(self) -> int:
        """Number of users to spawn."""


class ScenarioShape(LoadTestShape):
    """A load shape that makes Locust spawn all users at once, and ends Locust's test when the run is over.

    Each client connects at its own time in the scenario's ramp, so Locust's spawning, which works in steps of a second,
    neither limits nor shapes the ramp.

    Locust creates an object of each shape class in a locustfile, without arguments. Such an object would end a test at
    once, so the harness replaces it with the copy that :meth:`of` returns.
    """

    def __init__(self, runs: Runs | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._runs = runs
        #: The previous run, which was over when Locust began this test, or None in the first test.
        self._before: MasterRun | None = None

    def of(self, runs: Runs) -> Self:
        """Return a copy of this shape that ends a test when the current run of ``runs`` is over."""
        made = copy.copy(self)
        made._runs = runs
        return made

    def reset_time(self) -> None:
        """Prepare for a new test. The web UI can start several tests, one after the other.

        Locust calls this before a test's first tick, and on a master once more when the run has begun.
        """
        super().reset_time()  # type: ignore[no-untyped-call]
        run = None if self._runs is None else self._runs.run
        if run is None or run.over:
            self._before = run

    def tick(self) -> tuple[int, float] | None:
        """Return (users, users per second), or None to stop; Locust calls this once a second."""
        if self._runs is None:
            return None
        run = self._runs.run
        if run is not None and run is not self._before:
            # Locust sleeps for a second between calls of `tick`. Wait here instead, so that the test stops as soon as
            # the run is over.
            run.ended.wait(_TICK_S)
            if run.over:
                return None
        return self._runs.total_users, float(self._runs.total_users)
