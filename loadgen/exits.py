"""The exit codes, all of them, and the error that carries one."""

import os
from enum import IntEnum


class ExitCode(IntEnum):
    """What a finished process says; the reference of the command line is made from this."""

    PASSED = 0
    """Passed: the run was measured, and every gate that it has is met."""
    GATE_FAILED = 1
    """A gate failed."""
    USAGE = 2
    """Usage or scenario error: nothing was run."""
    INCONCLUSIVE = 3
    """Inconclusive: the generator or the clock can't carry the claim, or the run judged itself invalid, broke off, was
    stopped by `--max-cost`, or ended before a verdict was written."""
    TARGET = 4
    """Target unreachable or refused, or away for part of the measurement."""
    INTERRUPTED = 130
    """Interrupted; what was recorded is kept and reported."""


def why(error: OSError) -> str:
    """Return the operating system's own words; libraries wrap them in theirs."""
    return os.strerror(error.errno) if error.errno else str(error)


class RunError(Exception):
    """The run cannot go on; the text is one sentence that says what to do."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code
