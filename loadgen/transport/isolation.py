"""Whatever one source raises ends at that source.

gevent stops a watcher whose callback raises. All sockets of a process are read by one watcher, so that without this
a single error would leave every connection deaf, and the report would call it the service's loss.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import gevent

from loadgen.measure.failures import message_of
from loadgen.transport.errors import TransportError

#: Raised to end the process: no failure, whatever callback they came up in.
OF_THE_PROCESS: Final = (KeyboardInterrupt, SystemExit)

#: Told of an error of our own; must not raise.
OnFailed = Callable[[BaseException], None]


class OurFailureError(TransportError):
    """A connection ended because the harness failed, not by the service's doing."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(f"the harness failed: {message_of(error)}")
        self.__cause__ = error


class Contained(Protocol):
    """A source of callbacks whose errors end with it."""

    def failed(self, error: BaseException) -> None:
        """A callback of this source has raised: report it as a failure of the harness, and end this source.

        One of `OF_THE_PROCESS` is no failure; but what was being read may be lost, so that this source ends, too.
        """


def contain(source: Contained, error: BaseException) -> None:
    """End an error at the source on whose account it was raised, and that source with it; never raises.

    An interrupt or an exit also goes on to the main greenlet, as gevent has it, but without stopping a watcher.
    """
    # Its end may fail too, which is one more failure to report; a third time there is nobody left to tell.
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
    """Give an error that is of no source to the hub, as if a callback had raised it, without stopping a watcher."""
    gevent.get_hub().loop.run_callback(_raise, error)


def run(source: Contained, callback: Callable[..., object], *args: Any) -> None:
    """Call a callback of the event loop that serves one source; start watchers and timers with this."""
    try:
        callback(*args)
    except BaseException as error:
        contain(source, error)


def _raise(error: BaseException) -> None:
    raise error
