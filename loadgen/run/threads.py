"""Native threads, sleeps and locks, outside of gevent's event loop."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import gevent
from gevent.monkey import get_original


def native_lock() -> AbstractContextManager[Any]:
    """Return a lock for native threads; gevent's locks would involve the event loop."""
    return cast(AbstractContextManager[Any], get_original("_thread", "allocate_lock")())


def native_sleep(seconds: float) -> None:
    """Block only the calling native thread."""
    get_original("time", "sleep")(seconds)


def start_native_thread(function: Callable[[], Any]) -> None:
    """Run a function in a new native thread that does not keep the process alive."""
    get_original("_thread", "start_new_thread")(function, ())


def run_in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a native thread, wait for it cooperatively, and return its result or raise its error.

    Errors bypass gevent's pool, which prints a traceback for every error that passes through it.
    """

    def guarded() -> tuple[Any, Exception | None]:
        try:
            return function(*arguments), None
        except Exception as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(guarded)
    if error is not None:
        raise error
    return result
