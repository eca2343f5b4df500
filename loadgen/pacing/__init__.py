"""Open-loop schedules: the due time of each publish request, computed from the request's number alone.

This package neither waits nor reads a clock. The load, the arrival process and a seed fix a schedule before the run. So
the target's answers cannot shift it, and any worker can compute the schedule of any client.
"""

from loadgen.pacing.curve import Curve, Point
from loadgen.pacing.schedule import Arrival, Pace, offsets_ns, request_count

__all__ = ["Arrival", "Curve", "Pace", "Point", "offsets_ns", "request_count"]
