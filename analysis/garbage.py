"""Pause garbage collection while modules load: it would free nothing and take a fifth of an import's CPU time.

Modules live as long as the process, so a collection during imports walks only objects that stay.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Disable garbage collection while modules load, then freeze their objects so that later collections skip them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
