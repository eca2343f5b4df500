"""What a process has to say of itself: failures that are not the service's doing, and checks of the user's code."""

from loadgen.console import say
from loadgen.measure.checks import Checks
from loadgen.measure.failures import NETWORK, USER_CODE, Failure, Failures


def show_failure(failure: Failure) -> None:
    """Say what failed that is not the service's doing."""
    if failure.kind == NETWORK:
        say(f"this machine cannot connect: {failure.message}; the run goes on, and is invalid")
        return
    whose = "your code" if failure.kind == USER_CODE else "the harness"
    say(f"{whose} failed in {failure.where}: {failure.message}; the run goes on, and is invalid")


class Account:
    """Failures and checks of a process that belong to no worker's part in a run: a master's, or from before a run."""

    def __init__(self) -> None:
        self.failures = Failures(show_failure)
        self.checks = Checks()
