"""Handle the signals that end a process, in a greenlet of the gevent hub."""

import signal
from collections.abc import Callable
from typing import Any

import gevent

from loadgen.subprocesses import ENDING_SIGNALS


def on_ending_signals(handler: Callable[[], object]) -> list[Any]:
    """Call ``handler`` on each ending signal that is not ignored, unblock the signals, and return gevent's watchers.

    The process that started this one may have blocked the signals. SIGINT is handled even if it was ignored.
    """
    watchers = [
        gevent.signal_handler(number, handler)
        for number in ENDING_SIGNALS
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    ]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING_SIGNALS)
    return watchers
