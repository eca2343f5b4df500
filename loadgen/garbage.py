"""Garbage collection while a process starts and ends, where it finds nothing and takes a fifth of the CPU time.

Modules live as long as the process, so a collection while they are loaded walks what will not go. At the end Python
collects three times what the kernel frees anyway.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def leave_to_kernel() -> None:
    """Have Python collect nothing when this process ends; exit handlers, threads and files end as ever."""
    # Exit handlers run in reverse order: registered first, this one is the last.
    atexit.register(gc.freeze)


@contextmanager
def loading() -> Iterator[None]:
    """Collect nothing while modules are loaded, nor walk them in later collections."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
