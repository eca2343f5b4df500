"""A worker's wait for its master: say what it waits for, and end at once if told to."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import gevent

from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.run import ending
from loadgen.subprocesses import ENDING_SIGNALS


@contextmanager
def reaching(where: str, *, forked: bool) -> Iterator[None]:
    """Reach the master within a `with` block; on an ending signal the process ends there.

    ``where`` is the master's address. A worker that was ``forked`` by its master says nothing. If the block raises
    ConnectionError, the master never answered, and the process ends too.
    """
    if not forked:
        say(f"waiting for the master at {where}")
    try:
        with _ending_at_signals(
            lambda: exit_process("interrupted before a master was there", ExitCode.INTERRUPTED)
        ):
            yield
    except ConnectionError:
        exit_process(
            f"no master answered at {where}: start it there with `loadgen run SCENARIO --master`, or name its address"
            " with --master-host and --master-port",
            ExitCode.TARGET,
        )
    if not forked:
        say(f"the master at {where} is there: waiting for its run to begin")


@contextmanager
def _ending_at_signals(end: Callable[[], NoReturn]) -> Iterator[None]:
    """Handle ending signals, which are blocked since the process began, and block them again afterwards."""
    heard = [
        gevent.signal_handler(number, end)
        for number in ENDING_SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    ]
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for each in heard:
            each.cancel()


def exit_process(reason: str, code: ExitCode) -> NoReturn:
    """Print the reason and exit the process at once; call it only when no run has begun."""
    say(reason)
    ending.tell(code=int(code))
    sys.stdout.flush()
    os._exit(code)
