"""Test that an analysis process keeps freed memory for its next arrays."""

import subprocess
import sys

CODE = """
import sys
from analysis import heap
if sys.argv[1] == "kept":
    heap.keep_freed()
import resource
import numpy as np
import pyarrow as pa
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(40_000_000, dtype=np.int8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults(), pa.default_memory_pool().backend_name)
"""


def of(how: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", CODE, how], check=True, capture_output=True, text=True)
    faults, backend = done.stdout.split()
    return int(faults), backend


def test_freed_memory_is_used_again() -> None:
    kept, backend = of("kept")
    returned, _ = of("returned")
    assert backend == "system"
    # If freed memory returns to the system, each new array causes a page fault for each of its pages or huge pages.
    assert kept < 20 < returned
