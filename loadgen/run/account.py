"""Failures, and results of the checks in user code, that are not part of a worker's record."""

from loadgen.console import say
from loadgen.measure.checks import Checks
from loadgen.measure.failures import NETWORK, USER_CODE, Failure, Failures


def show_failure(failure: Failure) -> None:
    """Print a failure that is not the service's fault and makes the run invalid."""
    if failure.kind == NETWORK:
        say(f"this machine cannot connect: {failure.message}; the run goes on, and is invalid")
        return
    whose = "your code" if failure.kind == USER_CODE else "the harness"
    say(f"{whose} failed in {failure.where}: {failure.message}; the run goes on, and is invalid")


class Account:
    """Failures and results of checks that belong to no worker: they arose in the master, or before a run."""

    def __init__(self) -> None:
        self.failures = Failures(show_failure)
        self.checks = Checks()

    def take(self, other: "Account") -> None:
        """Move the failures and checks of ``other`` to this account."""
        self.failures.take(other.failures)
        self.checks.take(other.checks)
