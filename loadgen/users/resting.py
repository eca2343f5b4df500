"""Let a user wait for the end of the run without a stack.

A greenlet that waits keeps its C stack and a page or two of Python's, some 8 KB. A greenlet that is yet to be started
keeps neither. So the greenlet that Locust starts for a user ends once the client is connected, and one that is yet to
be started takes its place until the run is over.
"""

from collections.abc import Callable
from typing import Any

import gevent
from gevent import Greenlet
from locust import User

from loadgen.users import making
from loadgen.users.worker import WorkerRun


class Resting(Greenlet):  # type: ignore[misc]  # gevent has no types
    """The greenlet of a user that waits for the end of the run; `WorkerRun.start_at_end` starts it."""

    def __init__(self, user: User, run: WorkerRun, end: Callable[[], None]) -> None:
        """``end`` ends the user's client. If this greenlet is killed before it starts, another one calls ``end``."""
        # Locust finds the user of a greenlet by its first argument.
        super().__init__(None, user)
        self._of_run = run
        self._end: Callable[[], None] | None = end
        self.rawlink(_end_if_killed)

    def _run(self, user: User) -> None:
        self.end_client()

    def end_client(self) -> None:
        """End the client, unless an earlier call does so. An exception counts as a failure of the harness."""
        end, self._end = self._end, None
        if end is not None:
            making.guarded(self._of_run, "a client", end)


def _end_if_killed(resting: Resting) -> None:
    """End the client of a greenlet that was killed before it was started."""
    gevent.spawn(resting.end_client)


def rest(user: Any, run: WorkerRun, end: Callable[[], None]) -> bool:
    """Replace the calling greenlet, which Locust started for ``user``, by one that takes less memory.

    The caller may then return: Locust sees the new greenlet as the user's, and at the end of the run the new greenlet
    calls ``end``. Return False, and change nothing, if the calling greenlet is not the user's.
    """
    greenlet = gevent.getcurrent()
    if user.greenlet is not greenlet:
        return False
    resting = Resting(user, run, end)
    group = user.group
    # Add the new greenlet before removing the old one, since Locust considers a group without greenlets as ended.
    group.add(resting)
    user._greenlet = resting
    group.discard(greenlet)
    run.start_at_end(resting)
    return True
