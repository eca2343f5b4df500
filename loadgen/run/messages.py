"""What coordinator and agents tell each other: over Locust's messages, or directly within one process.

Payloads are sent as plain dicts of msgpack types, because that is what Locust carries. Those of workers are decoded
into the structs of `worker_messages`, those of the master are checked by `master_messages`.
"""

from typing import Any, Final, Protocol

#: Changes with what is said here: workers of another format are refused.
FORMAT: Final = 6

#: coordinator → agents: a run begins (the resolved run, target, token, folder).
BEGIN: Final = "loadgen.begin"
#: agent → coordinator: users ask for clients of a role. coordinator → agent: which they are.
CLAIM: Final = "loadgen.claim"
GRANT: Final = "loadgen.grant"
#: coordinator → agents: every client has its user, and the ramp begins when this says.
RAMP: Final = "loadgen.ramp"
#: coordinator → agents: all are ready, here is the timeline.
GO: Final = "loadgen.go"
#: agent → coordinator, a few times a second: counts, complaints, the last second's histogram.
STATUS: Final = "loadgen.status"
#: coordinator → agents: the run is over, hang up and hand over the record.
FINISH: Final = "loadgen.finish"
#: agent → coordinator, once a second: a piece of a spool file that the master cannot read itself (see `gather`).
SPOOL: Final = "loadgen.spool"
#: coordinator → agent: how much of that file is written.
SPOOL_WRITTEN: Final = "loadgen.spool-written"
#: agent → coordinator: somebody has told this process of the master's own machine to end: the run ends.
INTERRUPTED: Final = "loadgen.interrupted"
#: agent → coordinator: the record is handed over.
FINISHED: Final = "loadgen.finished"

#: worker → master, before any run: who it is, which version, what weight (see `joining`).
HELLO: Final = "loadgen.hello"
#: master → worker: it takes no part in any run, or not in the one that is on; the sentence that says why.
REFUSE: Final = "loadgen.refuse"
STAND_BY: Final = "loadgen.stand-by"

#: agent → coordinator, all through the run: what time is it there? coordinator → agent: this.
PING: Final = "loadgen.ping"
PONG: Final = "loadgen.pong"

Payload = dict[str, Any]


class Link(Protocol):
    """One end of the line between the coordinator and the agents."""

    def to_coordinator(self, kind: str, payload: Payload) -> None:
        """Send to the coordinator (agents only)."""

    def to_agents(self, kind: str, payload: Payload, worker_id: str | None = None) -> None:
        """Send to one agent, or to all (coordinator only)."""
