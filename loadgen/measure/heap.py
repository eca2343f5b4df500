"""Makes glibc return a worker's freed memory to the system.

A worker allocates and frees rows in blocks of megabytes throughout a run. By default glibc would keep ever larger
blocks in the heaps of its threads and fragment them (tests/system/measure/test_heap.py shows it). "Memory over time" in
benchmarks/README.md shows the effect.
"""

import ctypes
import sys

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 1 << 20
#: Free memory at the end of the heap that is kept. Each second's figures need several arrays of half a megabyte, and
#: new pages for each took a third of the time of writing rows.
_KEPT_BYTES = 8 << 20


def keep_small() -> bool:
    """Make glibc return large freed blocks to the system, and let all threads share one heap.

    Call it before starting threads. Returns False if it had no full effect, as with a C library other than glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return all(
        bool(mallopt(parameter, value))
        for parameter, value in (
            (_M_ARENA_MAX, 1),
            (_M_MMAP_THRESHOLD, _LARGE_BYTES),
            (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        )
    )
