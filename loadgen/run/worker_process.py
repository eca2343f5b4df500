"""How the process of a worker is set up, so that what is not its load disturbs the load least."""

import gc
import sys
from typing import Final

from loadgen.measure import heap

_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
#: How long the event loop and the thread that writes have Python for themselves while the other waits for it. With
#: CPython's 5 ms either waited that long at each of a hundred turns a second.
_TURN_S: Final = 0.0005


def set_up() -> None:
    """Set it up; call it when what stays has been made, and before connections are."""
    heap.keep_small()
    sys.setswitchinterval(_TURN_S)
    if gc.get_threshold()[0] == _OBJECTS_BETWEEN_COLLECTIONS:
        # What an earlier run of this process has left may go; before the first there are only modules, frozen already.
        gc.unfreeze()
    gc.collect()
    # Later collections do not walk through what exists by now: on a slow machine one took 0.2 s of a second.
    gc.freeze()
    # Connections are made by the thousand and stay; CPython would look through them again at every 700 new objects.
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)
