"""The exit codes, all of them, and the error that carries one."""

import os
from enum import IntEnum


class ExitCode(IntEnum):
    """What a finished process says; documented in README."""

    PASSED = 0
    GATE_FAILED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    TARGET = 4
    INTERRUPTED = 130


def why(error: OSError) -> str:
    """Return the operating system's own words; libraries wrap them in theirs."""
    return os.strerror(error.errno) if error.errno else str(error)


class RunError(Exception):
    """The run cannot go on; the text is one sentence that says what to do."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code
