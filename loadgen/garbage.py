"""Skip garbage collection while a process loads modules and when it ends, and make it rare in between.

While modules load, collections find nothing and take a fifth of the import's CPU time (see `analysis.garbage`). At exit
Python would run three collections, although the kernel frees all memory anyway.
"""

import atexit
import gc
import sys
from typing import Final

from analysis.garbage import loading

#: Native modules that at exit print a list of the objects that were not collected, as if they were leaks.
_COUNTING: Final = ("_duckdb",)
#: Number of objects that are allocated, and not freed, between two collections; Python's default is 700.
BETWEEN_COLLECTIONS: Final = 10_000


def leave_to_kernel() -> None:
    """Skip Python's garbage collections at exit; exit handlers, threads and files are finished as usual.

    The collections take place if the process has loaded a module of `_COUNTING`, which reports objects left at exit.
    """
    # Exit handlers run in reverse order: if this one is registered first, it runs last.
    atexit.register(_at_exit)


def spare_existing() -> None:
    """Exempt all objects that exist now from later collections, and make collections rare.

    Call it when all long-lived objects exist, before connections are opened. A process that opens thousands of
    connections and keeps them would otherwise scan them again and again: that took 30 % of the embedded server's CPU
    time while 15,000 clients connected, in pauses that delay what it sends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(BETWEEN_COLLECTIONS, 10, 10)


def _at_exit() -> None:
    if any(name in sys.modules for name in _COUNTING):
        gc.unfreeze()
    else:
        gc.freeze()


__all__ = ["BETWEEN_COLLECTIONS", "leave_to_kernel", "loading", "spare_existing"]
