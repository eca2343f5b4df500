"""What `loadgen run` has resolved, on its way to the Locust process that it starts.

It goes by an open file without a name, in memory where the system has that: no other user can read it, nothing of it
stands on a command line, and nothing is left of it when both processes have ended. Plain Locust is handed nothing: its
master resolves the scenario itself.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from loadgen.exits import ExitCode, RunError
from loadgen.planning.budget import Budget
from loadgen.resolve import ResolvedRun

if TYPE_CHECKING:
    from loadgen.planning.prices import Prices

#: Environment variable with the file's descriptor.
RUN_FD: Final = "LOADGEN_RUN_FD"


class Handover(msgspec.Struct, frozen=True):
    """A run and what it may cost; no secret is in it."""

    run: ResolvedRun
    prices: dict[str, Any]
    """What the manifest keeps of the price file: `loadgen.planning.prices.Prices.snapshot`."""
    budget: Budget | None
    """What ends the run when it has cost too much."""

    @classmethod
    def of(cls, run: ResolvedRun, prices: "Prices", max_usd: float | None) -> "Handover":
        """Return all that a master needs of a run that may cost so many US dollars (None: any)."""
        return cls(run, prices.snapshot(), Budget.of(run, prices, max_usd))


_decoder = msgspec.msgpack.Decoder(Handover)


@contextmanager
def handed(given: Handover) -> Iterator[int]:
    """Write it and yield the descriptor that a child is to inherit, with `RUN_FD` in its environment.

    Raises:
        RunError: there is no room for it.
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
    """Return what `loadgen run` has handed to this process, once; None if it has handed nothing.

    Raises:
        RunError: it cannot be read.
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
