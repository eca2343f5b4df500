"""Set up a worker process so that its housekeeping disturbs the load as little as possible."""

import gc
import sys
from typing import Final

from loadgen import garbage, native
from loadgen.measure import heap

#: Time for which the event loop or the writing thread may hold the GIL while the other waits for it. With CPython's
#: default of 5 ms, each of the two waited 5 ms about a hundred times a second.
_TURN_S: Final = 0.0005
#: Time slice of this process's threads, the shortest that Linux has. With its default of a millisecond or more, a
#: request that was due waited for the slice of whatever else ran on the core, such as the embedded server.
_SLICE_NS: Final = 100_000


def set_up() -> None:
    """Set up this process; call it when all long-lived objects exist, before connections are opened."""
    heap.keep_small()
    if native.available:
        native.keep_stacks()
        native.shorten_slice(_SLICE_NS)
    sys.setswitchinterval(_TURN_S)
    if gc.get_threshold()[0] == garbage.BETWEEN_COLLECTIONS:
        # The threshold is already set, so an earlier run of this process is over: unfreeze its objects, so that the
        # collection below frees them. Before the first run only modules are frozen, and those stay in use.
        gc.unfreeze()
    garbage.spare_existing()
