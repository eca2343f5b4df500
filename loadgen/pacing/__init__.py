"""Open-loop schedules: when each publish request is due, as a pure function of its number.

Nothing here waits or knows the time. A schedule is fixed before the run by the load, the arrival process and a
seed, so that no answer of the target can move it, and any worker can compute the schedule of any client by itself.
"""

from loadgen.pacing.curve import Curve, Point
from loadgen.pacing.schedule import Arrival, Pace, offsets_ns, request_count

__all__ = ["Arrival", "Curve", "Pace", "Point", "offsets_ns", "request_count"]
