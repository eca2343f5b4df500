"""The echo lane: a worker publishes to a channel that only it subscribes to, and times the round trip.

One clock stamps both ends, so the round trip has no clock error: it is the latency of the service path under this load.
The lane has its own connections but runs the code of the scenario's clients: the same handshake, session, receive path
and way to publish. No figure of the scenario includes its traffic: its publisher numbers are negative, like those of
readiness probes, so a subscription of the scenario drops any echo that it receives. The lane's own subscription writes
to a separate buffer.

A failing lane never ends or invalidates a run: `EchoLane.note` says why it failed, and goes into the manifest.
"""

from loadgen.run.echo.lane import EchoLane
from loadgen.run.echo.plan import EchoPlan, interval_ns, plan_echo

__all__ = ["EchoLane", "EchoPlan", "interval_ns", "plan_echo"]
