"""End a run early when its result is already useless (`--abort-on`): an invalid verdict, or too low a publish rate."""

from collections.abc import Callable, Collection
from math import sqrt
from typing import Final

from loadgen.exits import ExitCode, RunError
from loadgen.planning.fanout import due
from loadgen.resolve import ResolvedRun
from loadgen.run.master.workers import Workers
from loadgen.run.option import AbortOn

#: Events that were due at least this long (ns) ago must have been sent. Events due later may be missing from the
#: workers' counts, which are reported four times a second.
_BEHIND_NS: Final = 1_000_000_000
#: Time (ns) from the start of the measurement before which the publish rate is not checked.
_JUDGED_AFTER_NS: Final = 5_000_000_000
#: Largest permitted share of unsent events among those due so far in the measurement. Above it the run ends.
_MAY_MISS: Final = 0.05
#: With Poisson arrivals the standard deviation of the number of due requests is the square root of that number. A
#: shortfall of up to this many standard deviations counts as chance.
_SIGMAS: Final = 4.0


class Doubts:
    """Check a run for the reasons named in `--abort-on`, each of which ends the run early."""

    def __init__(self, run: ResolvedRun, workers: Workers, wanted: Collection[AbortOn]) -> None:
        """Check only for the reasons in ``wanted``, which the option `--abort-on` names.

        Raises:
            RunError: ``wanted`` includes the rate, but the scenario's rate is not known beforehand; exit code 2.
        """
        self._workers = workers
        self._wanted = frozenset(wanted)
        self._due: Callable[[int], float] = lambda after_ns: sum(
            due(publish.pace, after_ns) * publish.batch for publish in run.publishing.values()
        )
        self._warmup_ns = run.phases.warmup_ns
        self._largest_batch = max((publish.batch for publish in run.publishing.values()), default=1)
        self._start_ns: int | None = None
        self._sent_before = 0
        if AbortOn.RATE in self._wanted and not _is_known(run):
            raise RunError(
                "--abort-on rate goes with groups that publish by a rate: how much users with tasks, and clients that"
                " respond, will publish is not known before",
                ExitCode.USAGE,
            )

    def begin(self, start_ns: int) -> None:
        """Begin to check the publish rate: the measurement starts at ``start_ns``."""
        self._start_ns = start_ns
        self._sent_before = self._workers.totals()["sent"]

    def sentence(self, at_ns: int) -> str | None:
        """Return why the run should end, or None if it may go on."""
        if AbortOn.INVALID in self._wanted and (said := self._invalid()) is not None:
            return f"ended by --abort-on invalid: {said}"
        if AbortOn.RATE in self._wanted and (said := self._too_slow(at_ns)) is not None:
            return f"ended by --abort-on rate: {said}"
        return None

    def _invalid(self) -> str | None:
        """Return the reason why the verdict will be invalid even if the run goes on, or None."""
        for state in self._workers.values():
            if state.gone or state.left is not None:
                return f"{state.info.name} {'was lost' if state.left is None else f'left ({state.left})'}"
            if failures := state.progress["failures"]:
                times = "once" if failures == 1 else f"{failures:,} times"
                return f"your code, the harness or the network failed {times} on {state.info.name}"
        return None

    def _too_slow(self, at_ns: int) -> str | None:
        if self._start_ns is None or at_ns < self._start_ns + _JUDGED_AFTER_NS:
            return None
        reported_ns = at_ns - self._start_ns - _BEHIND_NS
        expected = self._due(self._warmup_ns + reported_ns) - self._due(self._warmup_ns)
        missed = expected - (self._workers.totals()["sent"] - self._sent_before)
        chance = _SIGMAS * sqrt(self._largest_batch * max(0.0, expected))
        if missed <= _MAY_MISS * expected + chance:
            return None
        return (
            f"of about {expected:,.0f} events due in the first {reported_ns / 1e9:.0f} s of the measurement, about"
            f" {missed:,.0f} were not sent: lower the rate, or add workers (--processes)"
        )


def _is_known(run: ResolvedRun) -> bool:
    return not run.journeys and not any(group.respond is not None for group in run.groups)
