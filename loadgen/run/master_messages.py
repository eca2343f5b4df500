"""The master's messages, with the bounds within which a worker accepts them; `messages` explains their meaning.

Unknown keys are ignored. A master tells its workers which clients to simulate and against which target. A worker
accepts no command to run, no option of its own command line, and no path except that of a folder that it verifies to be
shared.
"""

from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta, Struct

from analysis.record.parts import RunName
from loadgen.resolve import ResolvedRun
from loadgen.run import messages
from loadgen.run.messages import Codec, Count, Message, Name, Ns, Text, Versioned

#: The run's record stores a worker's number as a signed 16-bit integer.
_Number = Annotated[int, Meta(ge=0, lt=1 << 15)]


class TargetPart(Struct, frozen=True, kw_only=True):
    """The target, as far as a worker needs it; see `run.target.Target`."""

    url: Text
    #: The login, as the names of the variables, files and other sources of its secrets, never the secrets themselves.
    login: dict[Name, Any] | None
    #: API key of the embedded server, which gives access to nothing else.
    api_key: Text | None
    #: Content of the protocol file, or None. It is sent because a worker on another machine may lack the file, or have
    #: a different one.
    protocol_file: Any
    #: True if connections may leave the machine.
    allow_remote: bool


class StoragePart(Struct, frozen=True, kw_only=True):
    """Where workers store their rows: a place without credentials, and the run's folder there."""

    uri: Text
    run: RunName


class Begin(Versioned, frozen=True, kw_only=True):
    """Tells a worker that a run begins, with everything that the worker needs to take part."""

    KIND: ClassVar[str] = messages.BEGIN

    run: ResolvedRun
    target: TargetPart
    token: Annotated[int, Meta(ge=0, lt=1 << 31)]
    folder: Annotated[str, Meta(max_length=4096)]
    worker: _Number
    #: Sockets that this worker's clients open, and how many of them are WebSockets.
    sockets: Count
    websockets: Count
    workers: Annotated[int, Meta(ge=1, le=1 << 15)]
    #: Interval at which this worker publishes echo events, or None if it publishes none.
    echo_ns: Annotated[int, Meta(gt=0)] | None
    #: Boot id of the master's kernel, or None if unknown.
    boot_id: Name | None
    #: True if the worker is to send reports for live displays.
    live: bool
    #: Where the worker stores its rows, or None if the master takes them.
    storage: StoragePart | None = None


class Grant(Versioned, frozen=True, kw_only=True):
    """Answer to a `Claim`: numbers of the clients to simulate, by role; fewer than asked for if too few are left."""

    KIND: ClassVar[str] = messages.GRANT

    request: Count
    granted: dict[Name, list[Count]]
    #: Values from the rows of data that belong to the granted clients, by client number and by name in templates.
    values: dict[Count, dict[Text, Any]] = msgspec.field(default_factory=dict)
    #: The file and line of the row that holds a client's login, for each of the clients that has a login of its own.
    places: dict[Count, Text] = msgspec.field(default_factory=dict)


class Rows(Versioned, frozen=True, kw_only=True):
    """A piece of the rows of data that publish requests draw from; see `rows_transfer`."""

    KIND: ClassVar[str] = messages.ROWS

    data: Name
    columns: list[Text]
    #: Line numbers of these rows in the data's file.
    lines: list[Count]
    #: The rows' cells as JSON texts, column by column.
    cells: list[list[str]]
    #: True in the last message with rows of ``data``.
    last: bool


class Ramp(Versioned, frozen=True, kw_only=True):
    """Start of the ramp on the master's clock."""

    KIND: ClassVar[str] = messages.RAMP

    ramp_ns: Ns


class Go(Versioned, frozen=True, kw_only=True):
    """Start and end of the phases, sent when all subscriptions are ready; see `users.worker.Timeline`."""

    KIND: ClassVar[str] = messages.GO

    warmup_ns: Ns
    measure_ns: Ns
    measure_end_ns: Ns
    drain_end_ns: Ns


class Finish(Versioned, frozen=True, kw_only=True):
    """The run is over: stop publishing, drain for ``drain_ns``, close connections, hand over the record."""

    KIND: ClassVar[str] = messages.FINISH

    drain_ns: Annotated[int, Meta(ge=0, le=86_400_000_000_000)]


class SpoolWritten(Versioned, frozen=True, kw_only=True):
    """Answer to a piece of a worker's spool file: how many bytes of the file the master has; see `spool_transfer`."""

    KIND: ClassVar[str] = messages.SPOOL_WRITTEN

    name: Name
    have: Count
    #: True if the piece was lost on the way or damaged. The worker must then send the file again from byte ``have`` on.
    again: bool


class Pong(Versioned, frozen=True, kw_only=True):
    """Answer to a ping: the ping's own values and the master's time."""

    KIND: ClassVar[str] = messages.PONG

    sent_ns: Ns
    bound_ns: Ns | None
    master_bound_ns: Ns | None
    sent_raw_ns: Ns | None
    master_received_ns: Ns
    master_sent_ns: Ns
    master_raw_ns: Ns | None


class Refuse(Message, frozen=True, kw_only=True):
    """Tells a worker why it takes no part in any run. Every version understands this message."""

    KIND: ClassVar[str] = messages.REFUSE

    reason: Text


class StandBy(Message, frozen=True, kw_only=True):
    """Tells a worker why it takes no part in the current run."""

    KIND: ClassVar[str] = messages.STAND_BY

    reason: Text


CODEC: Final = Codec(Begin, Grant, Rows, Ramp, Go, Finish, SpoolWritten, Pong, Refuse, StandBy)


def decoded(kind: str, raw: msgspec.Raw | bytes) -> Message | None:
    """Return a decoded message, or None if ``kind`` is not a message of the harness's master; raises ValueError."""
    return CODEC.decode(kind, raw)
