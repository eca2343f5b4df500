"""Memory, CPU time and messages of a benchmark's client process."""

import resource
from pathlib import Path

KEY = "da2-benchmark"
CHANNEL = "/default/bench"


def cpu_s() -> float:
    """Return the CPU seconds of this process so far, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def pss_kb() -> int:
    """Return the memory of this process (KB), its share of shared pages included (PSS)."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("this system does not tell the memory of a process")
