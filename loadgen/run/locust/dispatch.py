"""Tell Locust, once per run, how many users each worker gets: its share of the run.

Locust's own dispatcher gives every worker the same number of users and moves them when workers come or go. Here each
client belongs to one worker from beginning to end: a lost worker's clients are lost with it, as the record shows, and a
late worker gets none.
"""

from collections.abc import Callable, Iterator
from typing import Any

from locust.dispatch import UsersDispatcher

#: Maps each worker's Locust id to the worker's number of users of each class, by the class's name.
Users = dict[str, dict[str, int]]


def dispatcher_of(users: Callable[[], Users]) -> type[UsersDispatcher]:
    """Return a dispatcher class for Locust's environment; it gets each worker's numbers of users from ``users``."""

    class ShareDispatcher(UsersDispatcher):
        """Make Locust start each worker's users in one step."""

        def new_dispatch(self, *_: Any, **__: Any) -> None:
            """Begin to dispatch one user per client of the run; ignore Locust's target count, rate and classes."""
            self._dispatcher_generator = iter([users()])  # type: ignore[assignment]

        def __next__(self) -> Users:
            """Return the number of users of each worker the first time; then raise StopIteration."""
            shares: Iterator[Users] = self._dispatcher_generator
            return next(shares)

        @property
        def dispatch_in_progress(self) -> bool:
            """Always True, so that Locust does not dispatch again by itself."""
            return True

        def add_worker(self, *_: Any, **__: Any) -> None:
            """Ignore a new worker: it gets no users in this run."""

        def remove_worker(self, *_: Any, **__: Any) -> None:
            """Ignore a lost worker: other workers do not get its users."""

    return ShareDispatcher
