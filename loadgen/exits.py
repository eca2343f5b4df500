"""All exit codes, and the exception that carries an exit code."""

import os
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of `loadgen`. docs/reference/command-line.md is generated from the docstrings of the members."""

    PASSED = 0
    """Passed: the run was measured and met all its gates."""
    GATE_FAILED = 1
    """A gate failed."""
    USAGE = 2
    """Usage or scenario error: nothing was run."""
    INCONCLUSIVE = 3
    """Inconclusive: the measurement is not exact enough to decide a gate, or the run was judged invalid. The code is
    the same if the run broke off, was stopped by `--max-cost`, or ended before it wrote a verdict."""
    TARGET = 4
    """The target was unreachable or refused a login or request, or it was away for part of the measurement."""
    INTERRUPTED = 130
    """Interrupted: the results so far are kept and reported."""


def why(error: OSError) -> str:
    """Return the operating system's error text, without the wording that libraries add to it."""
    return os.strerror(error.errno) if error.errno else str(error)


class RunError(Exception):
    """The run cannot continue; the message is one sentence that says what to do."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code
