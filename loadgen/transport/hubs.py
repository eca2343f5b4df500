"""Keep one object for each event loop: gevent's hub has no place for such objects."""

import os
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import gevent


class OfHub(Protocol):
    """An object that belongs to one event loop."""

    #: Id of the process that made it. A forked process inherits the object, and must make one of its own.
    process: int


_Kind = TypeVar("_Kind", bound=OfHub)


def existing(known: "WeakKeyDictionary[Any, _Kind]") -> _Kind | None:
    """Return the object of the calling thread's hub in ``known``, or None if this process has made none yet."""
    found = known.get(gevent.get_hub())
    return None if found is None or found.process != os.getpid() else found


def of_hub(known: "WeakKeyDictionary[Any, _Kind]", make: Callable[[], _Kind]) -> _Kind:
    """Return the object of the calling thread's hub in ``known``; make it first if this process has none yet."""
    found = existing(known)
    if found is None:
        found = known[gevent.get_hub()] = make()
    return found
