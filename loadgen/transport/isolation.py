"""Confine an error that a callback raises to the connection that the callback serves.

gevent stops a watcher whose callback raises. One watcher reads all sockets of a process, so a single error would stop
all connections from receiving, and the report would show lost messages of the service.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent

from loadgen.measure.failures import message_of
from loadgen.transport.errors import TransportError

#: Exceptions that end the process. They are no failures of the harness, no matter which callback raises them.
OF_THE_PROCESS: Final = (KeyboardInterrupt, SystemExit)

#: A function that is called with an error of the harness. It must not raise an error itself.
OnFailed = Callable[[BaseException], None]


class OurFailureError(TransportError):
    """A connection ended because the harness failed, not because of the service."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the harness failed: {message_of(error)}")
        self.__cause__ = error


class Contained(Protocol):
    """A source of callbacks, such as a connection; an error that a callback raises ends only its source."""

    def failed(self, error: BaseException) -> None:
        """End this source because one of its callbacks raised ``error``, and report a failure of the harness.

        An error in `OF_THE_PROCESS` is not reported as a failure, but ends the source too: the data that was being read
        may be lost.
        """


def contain(source: Contained, error: BaseException) -> None:
    """End the source whose callback raised ``error``, and report the error to it; never raises.

    If the error is an interrupt or exit of the process, also raise it in the main greenlet, as gevent does. No watcher
    is stopped.
    """
    # `failed` itself may raise an error: report it to the source as well. An error in that second report goes to the
    # gevent hub, which prints it.
    for _ in range(2):
        if isinstance(error, OF_THE_PROCESS):
            pass_on(error)
        try:
            source.failed(error)
        except BaseException as another:
            error = another
        else:
            return
    gevent.get_hub().handle_error(source, type(error), error, error.__traceback__)


def pass_on(error: BaseException) -> None:
    """Raise an error inside gevent's hub, in a callback of its own, so that no watcher is stopped."""
    gevent.get_hub().loop.run_callback(_raise, error)


def run(source: Contained, callback: Callable[..., object], *args: Any) -> None:
    """Call ``callback`` and confine its errors to ``source``; start watchers and timers with this function."""
    try:
        callback(*args)
    except BaseException as error:
        contain(source, error)


def _raise(error: BaseException) -> None:
    raise error
