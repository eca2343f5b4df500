"""Workers' messages, with the bounds within which the master accepts them; `messages` explains their meaning.

Unknown keys are refused, because both sides run the same version. HELLO is the exception: it serves to recognize other
versions. The connection identifies the worker that sent a message, so no struct names a worker.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from analysis.record.parts import Sha256
from analysis.record.schemas import SCHEMAS, spool_name
from loadgen.measure import histograms
from loadgen.measure.health import HealthSample
from loadgen.measure.running import BOUNDS_NS
from loadgen.run import messages
from loadgen.run.messages import MOST_TEXT, Codec, Count, Message, Name, Ns, Text, Versioned, Whole

#: Maximum number of reports for live displays in one STATUS; the rest go with the next.
MOST_REPORTS: Final = 4
PIECE_BYTES: Final = 128 << 10
Encoded = Annotated[str, Meta(max_length=histograms.MOST_TEXT)]


class Hello(Message, frozen=True, kw_only=True):
    """A worker's introduction, which every version understands; see `registration.introduction`."""

    KIND: ClassVar[str] = messages.HELLO

    version: Name
    format: Count
    weight: Name = "1"
    hostname: Name = ""
    address: Name | None = None
    pid: Count = 0
    boot_id: Name | None = None
    cpus: Count | None = None


class Claim(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request of a worker's users for clients to play; it names the wanted roles."""

    KIND: ClassVar[str] = messages.CLAIM

    request: Count
    wanted: Annotated[dict[Name, Count], Meta(max_length=1_000)]


class Ping(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request for the master's time."""

    KIND: ClassVar[str] = messages.PING

    sent_ns: Ns
    sent_raw_ns: Ns | None
    bound_ns: Ns | None


class Interrupted(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker that `--processes` forked has received a signal to end."""

    KIND: ClassVar[str] = messages.INTERRUPTED


class Piece(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A piece of a file of rows (spool file) that the worker has written; see `spool_transfer`."""

    KIND: ClassVar[str] = messages.SPOOL

    name: Name
    at: Count
    piece: Annotated[bytes, Meta(max_length=PIECE_BYTES)]
    crc32: Annotated[int, Meta(ge=0, lt=1 << 32)]


class Stored(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of its record a worker has stored in the run's storage, while the master waits for its end."""

    KIND: ClassVar[str] = messages.STORED

    bytes: Count


class StoredFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A spool file as a worker stored it in pieces; see `worker.storing`."""

    pieces: Count
    bytes: Count
    rows: Count
    sha256: Sha256


class Spread(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A distribution for live displays; see `measure.running.Spread.told`."""

    counts: Annotated[list[Count], Meta(min_length=len(BOUNDS_NS) + 1, max_length=len(BOUNDS_NS) + 1)]
    sum_ns: float
    min_ns: Ns
    max_ns: Ns


_Seconds = Annotated[list[tuple[Whole, Count]], Meta(max_length=100_000)]
_UnsureSeconds = Annotated[list[tuple[Whole, Count | None]], Meta(max_length=100_000)]


class Report(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One second of figures for live displays; see `measure.running`."""

    start_ns: Ns
    end_ns: Ns
    deliveries: Count
    groups: Annotated[dict[Name, Count], Meta(max_length=10_000)]
    histograms: Annotated[dict[Name, Encoded], Meta(max_length=100)]
    latency: Spread | None
    publish: Spread | None
    negative: Count
    measured: Encoded
    arrived: _Seconds
    sampled: Annotated[list[tuple[Whole, Whole, Ns, Ns, Ns, Count]], Meta(max_length=100_000)]
    #: A row of the health table, by column. Any column is allowed, since columns are added from time to time.
    health: Annotated[dict[Name, int | float | str | bool | None], Meta(max_length=200)] | None
    # The following fields are sent only once the start and end of the measure phase are known.
    statuses: Annotated[dict[Name, Count], Meta(max_length=100)] | UnsetType = UNSET
    expected: _UnsureSeconds | UnsetType = UNSET
    lateness: Encoded | UnsetType | None = UNSET
    due: Count | UnsetType = UNSET
    unsent: Count | UnsetType = UNSET
    accepted: Count | UnsetType = UNSET
    sampled_events: (
        Annotated[list[tuple[Whole, Whole, Count | None]], Meta(max_length=100_000)] | UnsetType
    ) = UNSET

    def __post_init__(self) -> None:
        for name in _HEALTH_NUMBERS if self.health is not None else ():
            value = self.health.get(name) if self.health is not None else None
            if not isinstance(value, int):
                raise ValueError(f"health.{name} is not a whole number")

    @classmethod
    def of(cls, made: Mapping[str, Any]) -> "Report":
        """Return a report of the values that `measure.running` computed, without checking the fields' bounds."""
        spreads = {
            name: None if made[name] is None else Spread(**made[name]) for name in ("latency", "publish")
        }
        return cls(**{**made, **spreads})

    def plain(self) -> dict[str, Any]:
        """Return the report as plain types, for `live.state`."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told


#: Columns of the health table that always have a value.
_HEALTH_NUMBERS: Final = tuple(name for name, of in HealthSample.__annotations__.items() if of is int)


class Status(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker's counts, its clients' failures (complaints) by reason, and the last second's histogram."""

    KIND: ClassVar[str] = messages.STATUS

    progress: Annotated[dict[Name, Whole], Meta(max_length=100)]
    deliveries: Count
    complaints: Annotated[dict[Text, Count], Meta(max_length=100)]
    fatal: Text | None
    broken: Text | None
    #: Exit code with which the run ends if `broken` is set.
    broken_code: Annotated[int, Meta(ge=2, le=4)]
    absent: bool
    histogram: Encoded | None
    shortest: Encoded | None
    live: Annotated[list[Report], Meta(max_length=MOST_REPORTS)]


class Failure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A failure that is not the service's fault; see `measure.failures`."""

    kind: Name
    where: Text
    message: Text
    count: Count
    first_ns: Ns


class Undecodable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A kind of message that could not be decoded; see `measure.undecodable`."""

    kind: Text
    count: Count
    example: Text


class BrokenMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the last messages of a connection that failed; see `measure.broken`."""

    sent: bool
    before_ns: Ns
    size_bytes: Count
    text: Text


class Broken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A connection that failed, and its last messages; see `measure.broken`."""

    error: Text
    connection: Count
    life: Count
    messages: Annotated[list[BrokenMessage], Meta(max_length=20)]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Broken":
        """Return the message for an entry of `BrokenConnections.to_list`."""
        return cls(**{**entry, "messages": [BrokenMessage(**each) for each in entry["messages"]]})


class Check(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Results of one check of user code; see `measure.checks`."""

    passed: Count
    failed: Count


class Echo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Summary of a worker's echo lane, which times events from the worker to itself; see `run.echo`."""

    channel: Text
    via: Text
    interval_ns: Ns
    payload_bytes: Count
    sent: Count
    returned: Count
    unexpected: Count
    connects: Count
    subscribes: Count
    lost_connections: Count
    errors: Annotated[dict[Text, Count], Meta(max_length=1_000)]
    note: Text | None


class Proxy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proxy that a worker used; see `transport.proxy.routes`."""

    address: Text
    variable: Name
    login: bool
    to: Annotated[list[Text], Meta(max_length=10)]

    @classmethod
    def of(cls, route: Mapping[str, Any]) -> "Proxy":
        """Return the message for an entry of `transport.proxy.routes`."""
        return cls(**route)


_Counts = Annotated[dict[Name, Count], Meta(max_length=100)]


class Finished(Versioned, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker has handed over its record. All fields but `files` and `left` go into its entry in the manifest."""

    KIND: ClassVar[str] = messages.FINISHED

    receive_path: Literal["native", "python"]
    receive_priority: Literal["normal", "real-time"] | None = None
    deliveries: Count
    events: Count
    foreign: Count
    undecodable: Count
    undecodable_kinds: Annotated[list[Undecodable], Meta(max_length=1_000)]
    broken_connections: Annotated[list[Broken], Meta(max_length=100)] = msgspec.field(default_factory=list)
    unknown_subscription: Count
    probes: Count
    probe_deliveries: Count
    echo: Echo | None
    deviations: Annotated[dict[Text, Count], Meta(max_length=1_000)]
    #: Number of messages that are counted but not measured, by kind, such as retained messages and further copies.
    asides: Annotated[dict[Text, Count], Meta(max_length=1_000)]
    failures: Annotated[list[Failure], Meta(max_length=1_000)]
    checks: Annotated[dict[Name, Check], Meta(max_length=2_000)]
    gathered_by: Literal["shared folder", "messages", "storage"]
    rows: _Counts
    spool_bytes: Count
    files: _Counts | None
    #: What the worker stored, by spool file, or None in a run without a storage; and why that is not all.
    stored: Annotated[dict[Name, StoredFile], Meta(max_length=100)] | None = None
    unstored: Text | None = None
    left: Text | None
    #: `network`: how often each note about connecting occurred. `proxies`: the proxies that the worker used.
    network: Annotated[dict[Text, Count], Meta(max_length=1_000)]
    proxies: Annotated[list[Proxy], Meta(max_length=10)]

    def described(self) -> dict[str, Any]:
        """Return the fields for the worker's entry in the manifest."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        del told[messages.WIRE], told["files"], told["left"]
        if self.stored is None:
            del told["stored"], told["unstored"]
        return told


CODEC: Final = Codec(Hello, Claim, Ping, Interrupted, Piece, Stored, Status, Finished)


def decoded(kind: str, raw: msgspec.Raw | bytes) -> Message | None:
    """Return a decoded message, or None if ``kind`` is no worker's message; raises ValueError if it is invalid."""
    return CODEC.decode(kind, raw)


def own_files(worker: int) -> frozenset[str]:
    """Return the possible names of a worker's spool files, which hold its rows, one file per table."""
    return frozenset(spool_name(table, worker) for table in SCHEMAS)


def clipped(text: str | None) -> str | None:
    """Return a text cut to `MOST_TEXT` characters; return None for None."""
    return text if text is None or len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def clipped_counts(counts: dict[str, int], most: int = 900) -> dict[str, int]:
    """Return counts by text with every text cut to `MOST_TEXT`, and the counts of equal texts added up.

    If there are more than ``most`` different texts, the further ones are counted together as `(others)`.
    """
    found: dict[str, int] = {}
    for text, count in counts.items():
        short = clipped(text) or ""
        if short not in found and len(found) >= most:
            short = "(others)"
        found[short] = found.get(short, 0) + count
    return found
