"""Do long work in slices, so that the event loop can serve connections in between."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import gevent

#: Number of items between two turns of the event loop; recording one item takes a few microseconds.
ITEMS: Final = 256

_T = TypeVar("_T")


def in_slices(items: Iterable[_T]) -> Iterator[_T]:
    """Yield each item, and give the event loop a turn after every `ITEMS` of them.

    In the gevent hub itself, which cannot wait, all items are yielded without a turn in between. If the waiting
    greenlet is killed, the remaining items are yielded without a turn before the exception is raised, so that none is
    left out.
    """
    killed: BaseException | None = None
    may_wait = gevent.getcurrent() is not gevent.get_hub()
    for number, item in enumerate(items, start=1):
        yield item
        if may_wait and killed is None and number % ITEMS == 0:
            try:
                gevent.sleep(0)
            except BaseException as error:
                killed = error
    if killed is not None:
        raise killed
