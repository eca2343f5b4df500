"""Read a run's manifest and check its size, nesting and types: someone else may have written it.

The structs declare every key that the analysis uses, as described in results/README.md; other keys may hold anything.
The rest of the analysis can therefore rely on the types.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from analysis import text
from analysis.gates.grammar import GateError, duration_ns, parse
from analysis.pricing import KINDS
from analysis.record import files
from analysis.record.parts import Parts

MAX_BYTES: Final = 64 * 1024 * 1024
#: Maximum length of a run in seconds, to bound memory: some figures have a row for each second.
MAX_SECONDS: Final = 31 * 24 * 3_600

#: Nanoseconds since the epoch, up to the year 2096.
TimeNs = Annotated[int, Meta(ge=0, le=4_000_000_000_000_000_000)]
SpanNs = Annotated[int, Meta(ge=-(1 << 60), le=1 << 60)]
Count = Annotated[int, Meta(ge=0, le=1 << 53)]
Number = Annotated[int, Meta(ge=0, le=0x7FFF)]
Amount = Annotated[float, Meta(ge=0, le=1e18)]
Counts = dict[str, Count]


class ManifestError(Exception):
    """A manifest cannot be used; the text says why, and continues a sentence that begins with the folder's name."""


class _Phase(Struct):
    name: str
    start_ns: TimeNs
    end_ns: TimeNs | None


class _Check(Struct):
    passed: Count
    failed: Count


class _Failure(Struct):
    kind: str
    where: str
    message: str
    count: Count


class _Unreadable(Struct):
    kind: str
    count: Count
    example: str


class _LastMessage(Struct):
    sent: bool
    before_ns: SpanNs
    size_bytes: Count
    text: str


class _Broken(Struct):
    error: str
    connection: Count
    life: Count
    messages: list[_LastMessage] = []


class _Lane(Struct):
    sent: Count
    returned: Count
    connects: Count
    subscribes: Count
    payload_bytes: Count
    via: str | None = None
    note: str | None = None
    errors: Counts = {}


class _Proxy(Struct):
    address: str
    variable: str
    login: bool
    to: list[str] = []


class _StoredStream(Struct):
    pieces: Count
    bytes: Count
    rows: Count


class _Worker(Struct):
    worker: Number
    id: str
    hostname: str
    pid: Count
    finished: bool
    boot_id: str | None = None
    address: str | None = None
    weight: Amount | None = None
    clients: Count | None = None
    subscriptions: Count | None = None
    left: str | None = None
    gathered_by: str | None = None
    rows: Counts = {}
    deliveries: Count | None = None
    events: Count | None = None
    foreign: Count | UnsetType = UNSET
    undecodable: Count | UnsetType = UNSET
    undecodable_kinds: list[_Unreadable] = []
    broken_connections: list[_Broken] = []
    unknown_subscription: Count | UnsetType = UNSET
    probes: Count | UnsetType = UNSET
    probe_deliveries: Count | UnsetType = UNSET
    echo: _Lane | None = None
    deviations: Counts = {}
    asides: Counts = {}
    network: Counts = {}
    proxies: list[_Proxy] = []
    checks: dict[str, _Check] = {}
    failures: list[_Failure] = []
    stored: dict[str, _StoredStream] | None = None


class _Pause(Struct):
    until_ns: TimeNs
    paused_ns: SpanNs


class _LateWorker(Struct):
    worker: Count | None = None
    hostname: str | None = None
    address: str | None = None
    at_ns: TimeNs | None = None
    phase: str | None = None


class _Offered(Struct):
    events_per_s: Amount
    points: list[tuple[SpanNs, Amount]] = []


class _Journeys(Struct):
    group: str
    users: str
    loop: Literal["closed", "open"] | None = None
    pacing: str | None = None


class _Target(Struct):
    embedded: bool
    protocol: str | UnsetType = UNSET
    service: str | UnsetType = UNSET
    url: str | None = None
    http_url: str | None = None
    loopback: bool | UnsetType = UNSET
    proxies: list[_Proxy] = []
    setup: dict[str, str | int | float | bool | None] = {}
    faults: dict[str, Any] | None = None


class _Prices(Struct):
    service: str
    region: str
    as_of: str | None
    certainty: str
    message_unit_bytes: Annotated[int, Meta(ge=1, le=1 << 40)]
    keepalive_interval_s: Annotated[float, Meta(gt=0, le=1e9)]
    usd_per_million_operations: Amount | None
    usd_per_million_connection_minutes: Amount | None
    usd_per_gb_out: Amount | None
    counts: dict[str, str]


class _WindowedGate(Struct):
    check: str
    over: str | None = None
    abort_early: bool = False


class _Scenario(Struct):
    name: str
    gates: list[str | _WindowedGate] = []


class _Host(Struct):
    hostname: str
    boot_id: str | None = None


class _Manifest(Struct):
    format: int
    run: str
    scenario: _Scenario
    target: _Target
    created_ns: TimeNs
    status: Literal["running", "complete", "interrupted", "aborted", "stopped", "failed"]
    exit_code: Annotated[int, Meta(ge=0, le=255)] | None
    reason: str | None
    workers: list[_Worker]
    phases: list[_Phase]
    host: _Host
    token: Count | UnsetType = UNSET
    late_after_ns: Annotated[int, Meta(ge=0, le=1 << 60)] | None = None
    offered: list[_Offered] | None = None
    journeys: list[_Journeys] = []
    prices: _Prices | None = None
    late_workers: list[_LateWorker] = []
    pauses: list[_Pause] = []
    oom_kills: Count | None = None
    failures: list[_Failure] = []
    checks: dict[str, _Check] = {}
    negative: Counts = {}
    beyond: Counts = {}
    parts: Parts | None = None
    versions: dict[str, str] = {}


def read(folder: Path, formats: tuple[int, ...]) -> dict[str, Any]:
    """Return the manifest of a run folder as plain data.

    Raises:
        ManifestError: the manifest is missing or unreadable, its format is not in ``formats``, or a value is wrong.
    """
    content = _parsed(folder / "manifest.json")
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise ManifestError(
            "is not a run's folder: its manifest.json names no format; name a folder below results/"
        )
    if version not in formats:
        raise ManifestError(
            f"is a record of format {version}, and this version reads formats {formats[0]} to {formats[-1]}:"
            " use the version of loadgen that wrote it"
        )
    try:
        found = msgspec.convert(content, _Manifest, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ManifestError(f"holds a damaged record: manifest.json: {text.clean(error)}") from None
    _check(found)
    plain: dict[str, Any] = content
    return plain


def _parsed(path: Path) -> Any:
    if (found := files.trouble(path)) is not None:
        raise ManifestError(f"is not a run's folder: its manifest.json {found}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError(
                f"is not a run's folder: its manifest.json is larger than {MAX_BYTES >> 20} MiB"
            )
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError):
        raise ManifestError(
            "is not a run's folder: it has no readable manifest.json; name a folder below results/"
        ) from None


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not a JSON number")


def _check(found: _Manifest) -> None:
    """Check the conditions that types cannot express; raises ManifestError."""
    for what, names in (
        ("worker", [str(worker.worker) for worker in found.workers]),
        ("phase", [phase.name for phase in found.phases]),
    ):
        twice = next((name for name in names if names.count(name) > 1), None) if len(names) < 10_000 else "?"
        if twice is not None:
            raise ManifestError(f"holds a damaged record: manifest.json names the {what} {twice!a} twice")
    for gate in found.scenario.gates:
        try:
            parse(gate if isinstance(gate, str) else gate.check)
            if isinstance(gate, _WindowedGate) and gate.over is not None:
                duration_ns(gate.over, "the window")
        except GateError as error:
            raise ManifestError(f"holds a damaged record: manifest.json: {text.clean(error)}") from None
    if found.prices is not None and (unpriced := set(KINDS.values()) - set(found.prices.counts)):
        raise ManifestError(
            f"holds a damaged record: manifest.json: its prices do not say what {min(unpriced)!a} counts"
        )
    times = [at for phase in found.phases for at in (phase.start_ns, phase.end_ns) if at is not None]
    if times and max(times) - min(times) > MAX_SECONDS * 1_000_000_000:
        raise ManifestError(
            f"holds a damaged record: manifest.json: its phases last longer than {MAX_SECONDS // 86_400} days"
        )
    for phase in found.phases:
        if phase.end_ns is not None and phase.end_ns < phase.start_ns:
            raise ManifestError(
                f"holds a damaged record: manifest.json: the phase {phase.name!a} ends before it begins"
            )
