"""The limits on a process in its container, virtual machine or cloud, and how much they slowed it down.

Covers CPU quota and throttling, cpuset and affinity, memory limits and OOM kills, pressure, steal, and EC2's network
allowances, as read from cgroup v1 and v2, `/proc` and ethtool's statistics. A value that the system does not provide is
None, never zero.
"""

from loadgen.measure.surroundings.limits import Allowed, allowed_here, oom_kills
from loadgen.measure.surroundings.sampler import Around, Surroundings

__all__ = ["Allowed", "Around", "Surroundings", "allowed_here", "oom_kills"]
