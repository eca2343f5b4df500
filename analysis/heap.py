"""Keep freed memory in the process, to reuse it for the next slice of deliveries.

The analysis allocates and frees arrays of some ten megabytes for each slice. By default glibc and Arrow's allocator
return each of them to the kernel, which then has to clear the same pages again and again: a quarter of a large report's
CPU time.
"""

import ctypes
import os

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
#: Free memory (bytes) at the top of the heap above which glibc still returns it to the kernel.
_KEPT_BYTES = 512 * 2**20


def keep_freed() -> None:
    """Reuse freed memory, and let Arrow use the same heap as numpy; for a process that does nothing but analyse.

    Call it before pyarrow is imported. Does nothing where the C library has no ``mallopt``.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    # One heap for all threads: a thread's own one could not grow beyond 64 MB.
    for parameter, value in ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEPT_BYTES)):
        mallopt(parameter, value)
    # Arrow reads it when it is loaded.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
