"""Pass the run that `loadgen run` has resolved to the Locust process that it starts.

The run is passed in an open, unnamed file, in memory where the system supports that. So no other user can read the run,
it does not appear on a command line, and nothing is left when both processes have ended. The master of plain Locust
receives no handover and resolves the scenario itself.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError
from loadgen.planning.budget import Budget
from loadgen.resolve import ResolvedRun

if TYPE_CHECKING:
    from loadgen.planning.prices import Prices

#: Environment variable with the descriptor of the file that contains the handover.
RUN_FD: Final = "LOADGEN_RUN_FD"


class Handover(msgspec.Struct, frozen=True):
    """A resolved run and its cost limit; contains no secrets, but the files that the run names may contain some."""

    run: ResolvedRun
    prices: dict[str, Any]
    """The prices recorded in the manifest: `loadgen.planning.prices.Prices.snapshot`."""
    budget: Budget | None
    """The cost limit, which ends the run once the run has cost more, or None for no limit."""
    data: dict[str, int] = {}
    """The open file of each table of the run's data, which the child process inherits."""

    @classmethod
    def of(cls, run: ResolvedRun, tables: Tables, prices: "Prices", max_usd: float | None) -> "Handover":
        """Return the handover of a run that may cost ``max_usd`` US dollars, or any amount if None."""
        return cls(run, prices.snapshot(), Budget.of(run, prices, max_usd), tables.descriptors)

    def tables(self) -> Tables:
        """Return the rows of the run's data.

        Raises:
            RunError: the rows cannot be read.
        """
        try:
            return Tables.opened(self.data)
        except ValueError as error:
            raise RunError(str(error), ExitCode.INCONCLUSIVE) from None


_decoder = msgspec.msgpack.Decoder(Handover)


@contextmanager
def handed(given: Handover) -> Iterator[int]:
    """Write the handover to an unnamed file and yield its descriptor.

    The child process inherits the descriptor and finds its number in the environment variable `RUN_FD`.

    Raises:
        RunError: the file cannot be written.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_nameless())
            file.write(msgspec.msgpack.encode(given))
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


def received() -> Handover | None:
    """Return the handover from `loadgen run`, or None if there is none; a second call returns None.

    Raises:
        RunError: the handover cannot be read.
    """
    descriptor = os.environ.pop(RUN_FD, "")
    if not descriptor.isdigit():
        return None
    try:
        with os.fdopen(int(descriptor), "rb") as file:
            file.seek(0)
            return _decoder.decode(file.read())
    except (OSError, ValueError) as error:
        raise RunError(
            f"the run that `loadgen run` has resolved cannot be read: {error}", ExitCode.INCONCLUSIVE
        ) from None
