"""Test how much memory stays in use after large blocks were freed.

The tests use a separate process, because the setting is process-wide.
"""

import subprocess
import sys

import pytest

from tests.system.harness import STUCK_S

#: A program that allocates large blocks in turn with small ones, then frees the large ones. In an ordinary heap, these
#: leave holes between the small blocks.
PROGRAM = """
import sys
from threading import Thread

import numpy as np
import psutil

from loadgen.measure import heap

if sys.argv[1] == "small":
    assert heap.keep_small()
kept = []

def work():
    for turn in range(10):
        large = [np.ones(1_500_000 + 10_000 * turn, dtype=np.int8) for _ in range(20)]
        kept.append(np.ones(60_000, dtype=np.int8))
        del large

for _ in range(4):
    thread = Thread(target=work)
    thread.start()
    thread.join()
print(psutil.Process().memory_info().rss - sum(block.nbytes for block in kept))
"""


def left_by(mode: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True, timeout=STUCK_S
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is about glibc")
def test_large_blocks_go_back_to_the_system() -> None:
    small, usual = left_by("small"), left_by("usual")
    assert small < 0.8 * usual
