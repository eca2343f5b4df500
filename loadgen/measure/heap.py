"""Makes glibc return a worker's freed memory to the system.

A worker allocates and frees rows in blocks of megabytes throughout a run. By default glibc would keep ever larger
blocks in the heaps of its threads and fragment them (tests/system/measure/test_heap.py shows it). "Memory over time" in
benchmarks/README.md shows the effect.
"""

from analysis.heap import Parameter, adjust

_LARGE_BYTES = 1 << 20
#: Bytes of free memory that glibc keeps at the end of its heap. Each second's figures need several arrays of half a
#: megabyte. Without this reserve, getting new memory pages for the arrays took a third of the time of writing rows.
_KEPT_BYTES = 8 << 20


def keep_small() -> bool:
    """Make glibc return large freed blocks to the system, and let all threads share one heap.

    Call it before starting threads. Returns False if it had no full effect, as with a C library other than glibc.
    """
    parameters = {
        Parameter.ARENA_MAX: 1,
        Parameter.MMAP_THRESHOLD: _LARGE_BYTES,
        Parameter.TRIM_THRESHOLD: _KEPT_BYTES,
    }
    return adjust(parameters) or False
