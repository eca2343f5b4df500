"""The resolved run on its way from `loadgen run` to the Locust process that it starts.

It goes by an open file without a name, in memory where the system has that: no other user can read it, nothing of it
stands on a command line, and nothing is left of it when both processes have ended. Plain Locust is handed nothing: its
master resolves the scenario itself.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final

from loadgen.resolve import ResolvedRun
from loadgen.resolve.run import decoded, encoded
from loadgen.run.exits import ExitCode, RunError

#: Environment variable with the file's descriptor.
RUN_FD: Final = "LOADGEN_RUN_FD"


@contextmanager
def handed(run: ResolvedRun) -> Iterator[int]:
    """Write a run and yield the descriptor that a child is to inherit, with `RUN_FD` in its environment.

    Raises:
        RunError: there is no room for it.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_nameless())
            file.write(encoded(run))
            file.flush()
        except OSError as error:
            raise RunError(
                f"the run cannot be handed to Locust: {error.strerror or error}", ExitCode.INCONCLUSIVE
            ) from None
        yield file.fileno()


def _nameless() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("loadgen-run"), "wb")
    return tempfile.TemporaryFile()


def received() -> ResolvedRun | None:
    """Return the run that `loadgen run` has handed to this process, once; None if it has handed none.

    Raises:
        RunError: what it has handed cannot be read.
    """
    descriptor = os.environ.pop(RUN_FD, "")
    if not descriptor.isdigit():
        return None
    try:
        with os.fdopen(int(descriptor), "rb") as file:
            file.seek(0)
            return decoded(file.read())
    except (OSError, ValueError) as error:
        raise RunError(
            f"the run that `loadgen run` has resolved cannot be read: {error}", ExitCode.INCONCLUSIVE
        ) from None
