"""Wait for a worker's master to answer: print a notice, and exit at once on an ending signal."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.run import ending
from loadgen.run.signals import on_ending_signals
from loadgen.subprocesses import ENDING_SIGNALS


@contextmanager
def reaching(where: str, *, forked: bool) -> Iterator[None]:
    """Enclose the code that connects to the master; exit the process on an ending signal within the `with` block.

    ``where`` is the master's address. A worker that was ``forked`` by its master prints nothing. If the master never
    answers, the block must raise ConnectionError; the process then exits, too.
    """
    if not forked:
        say(f"waiting for the master at {where}")
    try:
        with _ending_at_signals(
            lambda: ending.exit_process("interrupted before a master was there", ExitCode.INTERRUPTED)
        ):
            yield
    except ConnectionError:
        ending.exit_process(
            f"no master answered at {where}: start it there with `loadgen run SCENARIO --master`, or name its address"
            " with --master-host and --master-port",
            ExitCode.TARGET,
        )
    if not forked:
        say(f"the master at {where} is there: waiting for its run to begin")


@contextmanager
def _ending_at_signals(end: Callable[[], NoReturn]) -> Iterator[None]:
    """Call ``end`` on an ending signal while the block runs; before and after it, the ending signals are blocked."""
    watchers = on_ending_signals(end)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
        for watcher in watchers:
            watcher.cancel()
