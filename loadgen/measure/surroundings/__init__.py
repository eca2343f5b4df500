"""What a process may use of its machine, and what was kept from it: containers, virtual machines, clouds.

CPU quota and throttling, cpuset and affinity, memory limits and kills, pressure, steal, and EC2's network allowances,
from cgroup v1 and v2, `/proc` and ethtool's statistics. Whatever the system does not tell is None, never zero.
"""

from loadgen.measure.surroundings.limits import Allowed, allowed_here, oom_kills
from loadgen.measure.surroundings.sampler import Around, Surroundings

__all__ = ["Allowed", "Around", "Surroundings", "allowed_here", "oom_kills"]
