"""The messages between master and workers: their names, their version, and the one place that encodes and decodes them.

Each message is a frozen struct: a worker's are in `worker_messages`, the master's in `master_messages`. Within one
process the structs themselves are handed over. Between processes Locust transports plain values: :func:`send` encodes a
message, and the sockets of `runners` decode each one that comes (:meth:`Codec.decode`). No other code sees the plain
form.

The coordinator conducts a run on the master (`coordinator`). Each worker takes part in the run through its agent
(`agent`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeVar

import msgspec
from msgspec import Meta, Struct

#: Version of the messages' format. Increase it with each change: the master refuses workers with another version.
FORMAT: Final = 10
#: Key under which an encoded message holds its version.
WIRE: Final = "wire"

#: coordinator → agents: a run begins, with the resolved run, target, token and folder.
BEGIN: Final = "loadgen.begin"
#: agent → coordinator: users ask for clients of their roles. coordinator → agent: the numbers of these clients.
CLAIM: Final = "loadgen.claim"
GRANT: Final = "loadgen.grant"
#: coordinator → agents, after BEGIN: rows of data that publish requests draw from (see `rows_transfer`).
ROWS: Final = "loadgen.rows"
#: coordinator → agents: every client has a user, and the ramp begins at the given time.
RAMP: Final = "loadgen.ramp"
#: coordinator → agents: all subscriptions are ready, with start and end of each phase.
GO: Final = "loadgen.go"
#: agent → coordinator, a few times a second: counts, clients' failures by reason, and the last second's histogram.
STATUS: Final = "loadgen.status"
#: coordinator → agents: the run is over, close connections and hand over the record.
FINISH: Final = "loadgen.finish"
#: agent → coordinator, once a second if the master cannot read the worker's files: a piece of a spool file, which holds
#: rows of the record (see `spool_transfer`).
SPOOL: Final = "loadgen.spool"
#: coordinator → agent, in answer to SPOOL: how many bytes of the spool file the master has written.
SPOOL_WRITTEN: Final = "loadgen.spool-written"
#: agent → coordinator, at the end of a run whose workers store their rows elsewhere: how much is stored by now.
STORED: Final = "loadgen.stored"
#: agent → coordinator: a worker forked by the master received a signal to end, which ends the run.
INTERRUPTED: Final = "loadgen.interrupted"
#: agent → coordinator: a worker's last message, with its final counts; after this the worker sends no more of its
#: record.
FINISHED: Final = "loadgen.finished"

#: worker → master, before any run: its identity, version and weight (see `registration`).
HELLO: Final = "loadgen.hello"
#: master → worker: the reason why the worker takes no part in any run (REFUSE), or not in the current one (STAND_BY).
REFUSE: Final = "loadgen.refuse"
STAND_BY: Final = "loadgen.stand-by"

#: agent → coordinator, throughout the run: asks for the master's time. coordinator → agent: the answer.
PING: Final = "loadgen.ping"
PONG: Final = "loadgen.pong"

#: Length to which a worker cuts texts before it sends them.
MOST_TEXT: Final = 2_000
#: JavaScript and readers of Parquet represent all integers up to this one exactly. No count comes near it.
_MOST: Final = 1 << 53

Count = Annotated[int, Meta(ge=0, le=_MOST)]
Whole = Annotated[int, Meta(ge=-_MOST, le=_MOST)]
#: Nanoseconds: a wall clock time, or a difference of two.
Ns = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Name = Annotated[str, Meta(max_length=300)]
Text = Annotated[str, Meta(max_length=4 * MOST_TEXT)]


class Message(Struct, frozen=True, kw_only=True):
    """A message that every version understands: HELLO, REFUSE and STAND_BY. All others are `Versioned`.

    The constructor checks no bounds; :meth:`Codec.decode` and :func:`checked` do.
    """

    #: Name of the message in Locust's envelope.
    KIND: ClassVar[str]


class Versioned(Message, frozen=True, kw_only=True, tag_field=WIRE, tag=FORMAT):
    """A message whose receiver must use the same `FORMAT` as the sender; its encoded form has `FORMAT` under `WIRE`."""


class _Version(Struct):
    wire: int | None = None


_M = TypeVar("_M", bound=Message)
_version: Final = msgspec.msgpack.Decoder(_Version)


def plain(message: Message) -> dict[str, Any]:
    """Return a message in the plain form that Locust transports: dicts, lists, texts, bytes, numbers."""
    found: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,))
    return found


def send(runner: Any, message: Message, worker_id: str | None = None) -> None:
    """Send a message: a worker's to its master, or a master's to one worker, or to all if ``worker_id`` is None."""
    runner.send_message(message.KIND, plain(message), worker_id)


def checked(message: _M) -> _M:
    """Return a message that this process has made; raises ValueError if its receiver would refuse it."""
    found: _M = msgspec.convert(plain(message), type(message))
    return found


class Codec:
    """Decodes the messages that the master sends, or those that workers send."""

    def __init__(self, *known: type[Message]) -> None:
        self._known: Mapping[str, type[Message]] = MappingProxyType({of.KIND: of for of in known})
        self._decoders = {of.KIND: msgspec.msgpack.Decoder(of) for of in known}

    @property
    def known(self) -> Mapping[str, type[Message]]:
        """Type of each message by its name."""
        return self._known

    def decode(self, kind: str, raw: msgspec.Raw | bytes) -> Message | None:
        """Return a decoded message, or None if ``kind`` is not one of this codec's messages.

        Raises:
            ValueError: the message is invalid or has another version (msgspec's errors are subclasses).
        """
        decoder = self._decoders.get(kind)
        if decoder is None:
            return None
        try:
            if issubclass(self._known[kind], Versioned):
                found = _version.decode(raw).wire
                if found != FORMAT:
                    of = "no message format" if found is None else f"message format {found}"
                    raise ValueError(f"it has {of}, and this process speaks {FORMAT}")
            return decoder.decode(raw)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None


class Link(Protocol):
    """Sends messages between the coordinator, on the master, and the agents, one on each worker."""

    def to_coordinator(self, message: Message) -> None:
        """Send a message to the coordinator (agents only)."""

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        """Send a message to one agent, or to all if ``worker_id`` is None (coordinator only)."""
