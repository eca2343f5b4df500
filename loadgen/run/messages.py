"""Types of the messages between coordinator and agents, sent over Locust or directly within one process.

Payloads are plain dicts of msgpack types, because Locust carries these. Workers' payloads are decoded into the structs
of `worker_messages`; the master's are checked by `master_messages`.
"""

from typing import Any, Final, Protocol

#: Version of the messages, to be increased with each change: workers of another format are refused.
FORMAT: Final = 6

#: coordinator → agents: a run begins, with the resolved run, target, token and folder.
BEGIN: Final = "loadgen.begin"
#: agent → coordinator: users ask for clients of their roles. coordinator → agent: the numbers of these clients.
CLAIM: Final = "loadgen.claim"
GRANT: Final = "loadgen.grant"
#: coordinator → agents: every client has a user, and the ramp begins at the given time.
RAMP: Final = "loadgen.ramp"
#: coordinator → agents: all subscriptions are ready, with the timeline.
GO: Final = "loadgen.go"
#: agent → coordinator, a few times a second: counts, complaints, the last second's histogram.
STATUS: Final = "loadgen.status"
#: coordinator → agents: the run is over, close connections and hand over the record.
FINISH: Final = "loadgen.finish"
#: agent → coordinator, once a second: a piece of a spool file, if the master cannot read it (see `spool_transfer`).
SPOOL: Final = "loadgen.spool"
#: coordinator → agent: how many bytes of that file are written.
SPOOL_WRITTEN: Final = "loadgen.spool-written"
#: agent → coordinator: a worker forked by the master received a signal to end, which ends the run.
INTERRUPTED: Final = "loadgen.interrupted"
#: agent → coordinator: the record is handed over.
FINISHED: Final = "loadgen.finished"

#: worker → master, before any run: its identity, version and weight (see `registration`).
HELLO: Final = "loadgen.hello"
#: master → worker: a sentence on why it takes no part in any run (REFUSE), or not in the current one (STAND_BY).
REFUSE: Final = "loadgen.refuse"
STAND_BY: Final = "loadgen.stand-by"

#: agent → coordinator, throughout the run: asks for the master's time. coordinator → agent: the answer.
PING: Final = "loadgen.ping"
PONG: Final = "loadgen.pong"

Payload = dict[str, Any]


class Link(Protocol):
    """One end of the connection between the coordinator and the agents."""

    def to_coordinator(self, kind: str, payload: Payload) -> None:
        """Send a message to the coordinator (agents only)."""

    def to_agents(self, kind: str, payload: Payload, worker_id: str | None = None) -> None:
        """Send a message to one agent, or to all if ``worker_id`` is None (coordinator only)."""
