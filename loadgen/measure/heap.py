"""How a worker's memory is given back: rows come and go in blocks of megabytes, all through the run.

glibc would keep ever larger ones in the heaps of its threads, where they leave holes
(tests/system/measure/test_heap.py shows it). See "Memory over time" in benchmarks/README.md for what that is worth.
"""

import ctypes
import sys

# mallopt(3)
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
_LARGE_BYTES = 1 << 20


def keep_small() -> bool:
    """Have large blocks go back to the system when they are freed, and all threads share one heap.

    Call it before threads are started. False: the C library is not glibc, and nothing was changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return bool(mallopt(_M_ARENA_MAX, 1)) and bool(mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))
