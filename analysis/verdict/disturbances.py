"""Disturbances of the harness while it measured: clock steps, and pauses of processes or machines.

Each worker records once a second whether its process stood still, its machine was suspended, or its wall clock moved
against its steady clock. Pings show the same for the clocks of two machines. They also reveal a machine that stood
still together with its clocks, which the machine itself cannot notice. Times are on the master's clock.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from analysis.clocks.fit import ClockFit, Step, steps_of_health
from analysis.limits import LIMITS
from analysis.loading.run import Run, ints

#: The process stood still without waiting for a CPU: SIGSTOP, a frozen container, a virtual machine held back.
STOPPED = "stopped"
#: The machine was suspended, as a laptop is when it is closed.
SUSPENDED = "suspended"
#: The machine stood still together with its clocks, as a paused virtual machine does.
FROZEN = "frozen"
#: The offset between the worker's clock and the master's jumped; the record shows neither which clock moved nor why.
APART = "apart"


@dataclass(frozen=True)
class Pause:
    """A pause of a worker's process or machine, or of the master's if `worker` is None."""

    worker: int | None
    kind: str
    #: Times (ns) between which the pause lies: `start_ns` and `end_ns`.
    start_ns: int
    end_ns: int
    lasted_ns: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def find(run: Run) -> tuple[list[Step], list[Pause]]:
    """Return the clock steps and the pauses of a run, each in order of time."""
    names = (
        "worker",
        "time_ns",
        "interval_ns",
        "clock_moved_ns",
        "paused_ns",
        "paused_until_ns",
        "suspended_ns",
        "throttled_ns",
    )
    table = run.table("health", names)
    worker, time_ns, interval_ns, moved_ns, paused_ns, until_ns, suspended_ns, throttled_ns = (
        ints(table, name, 0) for name in names
    )
    pauses = []
    # A pause explained by the CPU quota is throttling, not a stop: see `surroundings`.
    stopped = (paused_ns >= LIMITS.pause_ns) & (throttled_ns < LIMITS.throttled_explains * paused_ns)
    for row in stopped.nonzero()[0].tolist():
        end_ns, lasted_ns = int(until_ns[row]), int(paused_ns[row])
        pauses.append(Pause(int(worker[row]), STOPPED, end_ns - lasted_ns, end_ns, lasted_ns))
    for row in (suspended_ns >= LIMITS.frozen_ns).nonzero()[0].tolist():
        end_ns, lasted_ns = int(time_ns[row]), int(suspended_ns[row])
        start_ns = end_ns - int(interval_ns[row]) - lasted_ns
        pauses.append(Pause(int(worker[row]), SUSPENDED, start_ns, end_ns, lasted_ns))
    pauses += _of_the_master(run)
    # Subtract suspensions from the wall clock's movement: while a machine is suspended, its wall clock goes on and its
    # steady clock does not, which would look like a step.
    noted = steps_of_health(worker, time_ns, interval_ns, moved_ns - suspended_ns)
    steps = _steps(run.clocks, noted)
    pauses += _jumps(run.clocks, pauses, steps)
    return sorted(steps, key=lambda step: step.time_ns), sorted(pauses, key=lambda pause: pause.start_ns)


def _of_the_master(run: Run) -> list[Pause]:
    """Return the pauses that the master recorded of itself; records of older versions or of one process have none."""
    found = []
    for noted in run.manifest.get("pauses", []):
        end_ns, lasted_ns = noted["until_ns"], noted["paused_ns"]
        if lasted_ns >= LIMITS.pause_ns:
            found.append(Pause(None, STOPPED, end_ns - lasted_ns, end_ns, lasted_ns))
    return found


def _steps(fits: dict[int, ClockFit], noted: list[Step]) -> list[Step]:
    """Return each clock step once.

    If both pings and a health row show a step, use the step as seen by the pings, which time it more exactly.
    """
    found: list[Step] = []
    for step in (step for fit in fits.values() for step in fit.steps):
        # A step of the master's clock shows in every worker's pings: add it only once.
        if not _known(step, found):
            found.append(step)
    for step in noted:
        fit = fits.get(step.worker if step.worker is not None else -1)
        # Compare with the steps of the same worker. If it shares the master's clock, compare also with the steps of the
        # master and of other workers that share it: processes on one kernel see the same step.
        same = [
            other
            for other in found
            if other.worker == step.worker or (fit is not None and fit.shared and _shared(other, fits))
        ]
        if not _known(step, same, whoever=True):
            found.append(step)
    return found


def _shared(step: Step, fits: dict[int, ClockFit]) -> bool:
    return step.worker is None or (step.worker in fits and fits[step.worker].shared)


def _known(step: Step, found: Iterable[Step], *, whoever: bool = False) -> bool:
    """Return True if ``found`` has a step of about the size and time of ``step``.

    Only steps of the same worker are compared with ``step``, unless ``whoever`` is True.
    """
    return any(
        (whoever or other.worker == step.worker)
        and abs(other.moved_ns - step.moved_ns) <= max(abs(step.moved_ns) // 10, 500_000)
        and other.time_ns - other.within_ns - abs(step.moved_ns) <= step.time_ns
        and step.time_ns - step.within_ns - abs(step.moved_ns) <= other.time_ns
        for other in found
    )


def _jumps(fits: dict[int, ClockFit], pauses: list[Pause], steps: list[Step]) -> list[Pause]:
    """Return the pauses of machines that show only in pings: no recorded suspension or clock step explains them."""
    found: list[Pause] = []
    for jump in (jump for fit in fits.values() for jump in fit.jumps):
        lasted_ns = abs(jump.moved_ns)
        if lasted_ns < LIMITS.frozen_ns:
            continue
        number = jump.worker if jump.moved_ns > 0 else None
        kind = FROZEN if jump.steady else APART
        begin_ns, end_ns = jump.from_ns - lasted_ns, jump.to_ns + lasted_ns
        if any(
            pause.kind == SUSPENDED and pause.worker == jump.worker and _overlap(pause, begin_ns, end_ns)
            for pause in pauses
        ):
            continue
        if not jump.steady:
            number = jump.worker
            if any(
                step.worker == jump.worker
                and begin_ns <= step.time_ns
                and step.time_ns - step.within_ns <= end_ns
                for step in steps
            ):
                continue
        # A pause of the master's machine shows in every worker's pings: add it only once.
        if not any(pause.worker == number and _overlap(pause, begin_ns, end_ns) for pause in found):
            found.append(Pause(number, kind, jump.from_ns, max(jump.from_ns, jump.to_ns), lasted_ns))
    return found


def _overlap(pause: Pause, begin_ns: int, end_ns: int) -> bool:
    return pause.start_ns <= end_ns and begin_ns <= pause.end_ns
