"""End this process, and with it the embedded server and the workers that it has forked."""

import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

import psutil

from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.run import ending
from loadgen.server.process import ServerProcess


def _children() -> Iterable[psutil.Process]:
    return psutil.Process().children()


class ThisProcess:
    """Ends this process at once, with or without a message; owns the embedded server, if there is one.

    Tests replace ``exit_now``, which must not return, and ``children``.
    """

    def __init__(
        self,
        exit_now: Callable[[int], NoReturn] = os._exit,
        children: Callable[[], Iterable[psutil.Process]] = _children,
    ) -> None:
        self._exit_now = exit_now
        self._children = children
        self._server: ServerProcess | None = None

    @property
    def server(self) -> ServerProcess | None:
        """The embedded server, from its start until this process stops it."""
        return self._server

    def own(self, server: ServerProcess) -> None:
        """Own ``server`` from now on: stop it when the process ends."""
        self._server = server

    def stop_server(self) -> None:
        """Stop the embedded server; do nothing if there is none."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()

    def exit(self, code: ExitCode) -> NoReturn:
        """Exit at once, without a message."""
        self._exit_now(code)

    def stop(self, reason: str, code: ExitCode) -> NoReturn:
        """Print the reason and exit the process at once; call this only before a run has begun."""
        say(reason)
        ending.tell(code=int(code))
        # Kill the workers forked by `--processes`, which would otherwise wait a minute for this master.
        for child in self._children():
            if self._server is None or child.pid != self._server.pid:
                child.kill()
        self.stop_server()
        sys.stdout.flush()
        self._exit_now(code)
