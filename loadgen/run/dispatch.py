"""Telling Locust how many users each worker gets: what the run's shares say, once, and never anew.

Locust's own dispatcher gives every worker as many, and moves users about when workers come or go. Here each client
belongs to one worker from the beginning to the end: what a lost worker held is lost with it and on record, and one that
comes late gets nothing.
"""

from collections.abc import Callable, Iterator
from typing import Any

from locust.dispatch import UsersDispatcher

#: Users by class name, for each worker by its Locust id.
Users = dict[str, dict[str, int]]


def dispatcher_of(users: Callable[[], Users]) -> type[UsersDispatcher]:
    """Return a dispatcher class for Locust's environment; ``users`` is asked when a run begins."""

    class ShareDispatcher(UsersDispatcher):
        """Gives out the shares of a run in one go."""

        def new_dispatch(self, *_: Any, **__: Any) -> None:
            """Begin; target, rate and classes are the run's own."""
            self._dispatcher_generator = iter([users()])  # type: ignore[assignment]

        def __next__(self) -> Users:
            """Return the shares, once."""
            shares: Iterator[Users] = self._dispatcher_generator
            return next(shares)

        @property
        def dispatch_in_progress(self) -> bool:
            """Whether Locust must not dispatch again of itself."""
            return True

        def add_worker(self, *_: Any, **__: Any) -> None:
            """A worker has come: it gets nothing in this run."""

        def remove_worker(self, *_: Any, **__: Any) -> None:
            """A worker has gone: its users are not given to others."""

    return ShareDispatcher
