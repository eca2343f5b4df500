"""Set up a worker process so that its housekeeping disturbs the load as little as possible."""

import gc
import sys
from typing import Final

from loadgen import native
from loadgen.measure import heap

_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
#: Time for which the event loop or the writing thread may hold the GIL while the other waits for it. With CPython's
#: default of 5 ms, each of the two waited 5 ms about a hundred times a second.
_TURN_S: Final = 0.0005


def set_up() -> None:
    """Set up this process; call it when all long-lived objects exist, before connections are opened."""
    heap.keep_small()
    if native.available:
        native.keep_stacks()
    sys.setswitchinterval(_TURN_S)
    if gc.get_threshold()[0] == _OBJECTS_BETWEEN_COLLECTIONS:
        # The threshold is already set, so an earlier run of this process is over: unfreeze its objects, so that the
        # collection below frees them. Before the first run only modules are frozen, and those stay in use.
        gc.unfreeze()
    gc.collect()
    # Exempt all existing objects from later garbage collections: on a slow machine one of these took 0.2 s.
    gc.freeze()
    # A run opens thousands of connections and keeps them. By default, the garbage collector would scan new objects
    # after every 700 allocations.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
