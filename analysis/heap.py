"""Settings of glibc's heap, for this process.

The analysis allocates and frees arrays of some ten megabytes for each slice. By default glibc and Arrow's allocator
return each of them to the kernel, which then has to clear the same pages again and again. That would take a quarter of
a large report's CPU time.
"""

import ctypes
import os
import sys
from collections.abc import Mapping
from enum import IntEnum


class Parameter(IntEnum):
    """Parameters of mallopt(3), from glibc's malloc.h."""

    TRIM_THRESHOLD = -1
    MMAP_THRESHOLD = -3
    MMAP_MAX = -4
    ARENA_MAX = -8


#: Free memory (bytes) at the top of the heap above which glibc still returns it to the kernel.
_KEPT_BYTES = 512 * 2**20


def keep_freed() -> None:
    """Reuse freed memory, and let Arrow use the same heap as numpy; for a process that does nothing but analyse.

    Call it before pyarrow is imported. Does nothing where the C library has no ``mallopt``.
    """
    # Use one heap for all threads: a heap of one thread cannot grow beyond 64 MB.
    if (
        adjust({Parameter.ARENA_MAX: 1, Parameter.MMAP_MAX: 0, Parameter.TRIM_THRESHOLD: _KEPT_BYTES})
        is not None
    ):
        # Make Arrow allocate with malloc, which the parameters above affect. Arrow reads the variable when it is
        # loaded.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def adjust(parameters: Mapping[Parameter, int]) -> bool | None:
    """Set parameters of the heap, in their order, and return True if all were accepted.

    Returns None if the C library has no ``mallopt``, for example outside Linux.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return None
    accepted = [bool(mallopt(int(parameter), value)) for parameter, value in parameters.items()]
    return all(accepted)
