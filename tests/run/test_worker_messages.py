"""Test the limits of workers' messages, and that a worker cannot act for another, without a network."""

import base64
import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.data.tables import Tables
from loadgen.measure import histograms
from loadgen.measure.health import HealthSample, HealthSampler
from loadgen.measure.rows import EventRow
from loadgen.measure.running import BOUNDS_NS, RunningStatistics
from loadgen.measure.surroundings import Around
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run import locust_messages, master_messages, messages, worker_messages
from loadgen.run.agent import failed_status
from loadgen.run.coordinator import Coordinator
from loadgen.run.messages import Message
from loadgen.run.placement import Placement
from loadgen.run.shares import weight_of
from loadgen.run.target import Target
from loadgen.run.worker_info import WorkerInfo
from loadgen.scenario import overrides_of
from tests.measure.event_rows import events_of

SECOND = 1_000_000_000
Payload = dict[str, Any]
STATUS: Payload = {**messages.plain(failed_status("x", 3)), "broken": None, "absent": False}
FINISHED: Payload = {
    "wire": messages.FORMAT,
    "receive_path": "native",
    "receive_priority": "normal",
    **dict.fromkeys(("deliveries", "events", "foreign", "undecodable", "unknown_subscription"), 1),
    **dict.fromkeys(("probes", "probe_deliveries", "spool_bytes"), 2),
    "undecodable_kinds": [{"kind": "k", "count": 1, "example": "e"}],
    "broken_connections": [
        {
            "error": "e",
            "connection": 1,
            "life": 0,
            "messages": [{"sent": False, "before_ns": 5, "size_bytes": 3, "text": "t"}],
        }
    ],
    "echo": None,
    "deviations": {"odd": 1},
    "asides": {"retained": 2},
    "network": {"192.0.2.1:443 does not answer": 1},
    "proxies": [{"address": "p:3128", "variable": "HTTPS_PROXY", "login": True, "to": ["wss://api:443"]}],
    "failures": [{"kind": "harness", "where": "w", "message": "m", "count": 1, "first_ns": 1}],
    "checks": {"c": {"passed": 1, "failed": 0}},
    "gathered_by": "messages",
    "rows": {"deliveries": 1},
    "files": {},
    "left": None,
}
HEALTH = dict.fromkeys((*HealthSample._fields[:-1], *Around._fields), 1)
REPORT: Payload = {
    **dict.fromkeys(("start_ns", "end_ns", "deliveries", "negative"), 1),
    "groups": {"readers": 1},
    "histograms": {},
    "latency": {"counts": [0] * (len(BOUNDS_NS) + 1), "sum_ns": 1.0, "min_ns": 1, "max_ns": 1},
    "publish": None,
    "measured": "none",
    "arrived": [[0, 1]],
    "sampled": [[1, 2, 3, 4, 5, 6]],
    "health": HEALTH,
}


def sent(kind: str, payload: Any) -> Any:
    """Return a payload as the master decodes it; the current version is added if it has none."""
    if isinstance(payload, dict) and kind != messages.HELLO:
        payload = {"wire": messages.FORMAT, **payload}
    return worker_messages.decoded(kind, msgspec.Raw(bytes(msgpack.dumps(payload))))


def bomb(megabytes: int) -> str:
    """Return a histogram as text that unpacks to ``megabytes`` MB."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(packed)) + packed).decode()


def test_a_histogram_that_unpacks_to_gigabytes_takes_no_memory() -> None:
    # The histogram consists of zeros, a thousand of which are packed into a byte. So even gigabytes would fit
    # into the allowed text.
    text = bomb(60)
    assert len(text) < histograms.MOST_TEXT
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more or fewer counts than any can have"):
            histograms.decoded(text)
        assert tracemalloc.get_traced_memory()[1] < 3 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(msgspec.ValidationError, match="histogram"):
        sent(messages.STATUS, {**STATUS, "histogram": "A" * (histograms.MOST_TEXT + 1)})


@settings(max_examples=200, deadline=None)
@given(
    cut=st.integers(0, 400), put=st.binary(max_size=8), header=st.integers(0, 39), byte=st.integers(0, 255)
)
def test_a_damaged_histogram_is_one_error_or_another_histogram(
    cut: int, put: bytes, header: int, byte: int
) -> None:
    whole = histograms.new_histogram()
    for value in (2_000, 5_000_000, 7_000_000_000):
        whole.record_value(value)
    raw = base64.b64decode(histograms.encoded(whole))
    inner = bytearray(zlib.decompress(raw[8:]))
    inner[header] = byte
    repacked = zlib.compress(bytes(inner))
    for damaged in (
        raw[:cut] + put + raw[cut:],
        struct.pack(">II", 0x1C849314, len(repacked)) + repacked,
    ):
        try:
            found = histograms.decoded(base64.b64encode(damaged).decode())
        except ValueError:
            continue
        assert found.counts_len == whole.counts_len
        assert 0 <= found.total_count <= 1 << 53


def test_what_our_agents_send_is_taken() -> None:
    assert sent(messages.STATUS, STATUS).broken_code == 3
    whole = {
        **REPORT,
        "lateness": None,
        "due": 1,
        "statuses": {"accepted": 1},
        "sampled_events": [[1, 2, None]],
    }
    for report in (REPORT, whole):
        (taken,) = sent(messages.STATUS, {**STATUS, "live": [report]}).live
        assert msgspec.json.encode(taken.plain()) == msgspec.json.encode(
            {name: report[name] for name in taken.plain()}
        )
        assert taken.plain().keys() == report.keys()
    described = sent(messages.FINISHED, FINISHED).described()
    assert described == {
        name: value for name, value in FINISHED.items() if name not in ("wire", "files", "left")
    }


WRONG: list[tuple[str, Payload, str]] = [
    (messages.STATUS, {**STATUS, "worker": "another"}, "unknown field `worker`"),
    (messages.STATUS, {**STATUS, "deliveries": "many"}, "Expected `int`"),
    (messages.STATUS, {**STATUS, "deliveries": -1}, ">= 0"),
    (messages.STATUS, {**STATUS, "deliveries": 1 << 60}, "<= "),
    (messages.STATUS, {**STATUS, "broken_code": 0}, "broken_code"),
    (messages.STATUS, {**STATUS, "complaints": {str(n): 1 for n in range(101)}}, "length <= 100"),
    (messages.STATUS, {**STATUS, "live": [REPORT] * 5}, "length <= 4"),
    (
        messages.STATUS,
        {**STATUS, "live": [{**REPORT, "health": {**HEALTH, "cpu_ns": None}}]},
        "health.cpu_ns",
    ),
    (messages.STATUS, {**STATUS, "live": [{**REPORT, "health": {}}]}, "not a whole number"),
    (messages.STATUS, {**STATUS, "live": [{**REPORT, "latency": {"counts": [1]}}]}, "length >= 21"),
    (messages.FINISHED, {**FINISHED, "id": "another"}, "unknown field `id`"),
    (messages.FINISHED, {**FINISHED, "finished": True}, "unknown field `finished`"),
    (messages.FINISHED, {**FINISHED, "receive_path": "x"}, "receive_path"),
    (messages.FINISHED, {**FINISHED, "receive_priority": "x"}, "receive_priority"),
    (messages.FINISHED, {**FINISHED, "checks": {"c": {"passed": 1}}}, "missing required field"),
    (messages.CLAIM, {"request": 1, "wanted": {"subscriber": -5}}, ">= 0"),
    (messages.CLAIM, {"request": 1}, "missing required field"),
    (messages.PING, {"sent_ns": 1.5, "sent_raw_ns": None, "bound_ns": None}, "Expected `int`"),
    (messages.SPOOL, {"name": "x", "at": -1, "piece": b"", "crc32": 0}, ">= 0"),
    (messages.SPOOL, {"name": "x", "at": 0, "piece": bytes((128 << 10) + 1), "crc32": 0}, "length <= 131072"),
    (messages.INTERRUPTED, {"worker": "w"}, "unknown field"),
    (messages.HELLO, {"format": 5}, "missing required field `version`"),
    (messages.HELLO, {"version": "v" * 301, "format": 5}, "length <= 300"),
]


@pytest.mark.parametrize(("kind", "payload", "said"), WRONG, ids=lambda each: str(each)[:24])
def test_what_is_not_as_it_should_be_is_refused_with_its_reason(
    kind: str, payload: Payload, said: str
) -> None:
    with pytest.raises(ValueError, match=said.replace("`", ".")):
        sent(kind, payload)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-5, 5), inner),
    max_leaves=10,
)
_kinds = st.sampled_from(
    (
        *(messages.STATUS, messages.FINISHED, messages.CLAIM, messages.PING, messages.SPOOL, messages.HELLO),
        *("stats", "heartbeat", "logs", "exception", "spawning_complete", "client_ready", "quit", "nonsense"),
    )
)


@settings(max_examples=300, deadline=None)
@given(kind=_kinds, value=_values)
def test_any_value_is_taken_or_refused_and_nothing_else(kind: str, value: Any) -> None:
    raw = msgspec.Raw(bytes(msgpack.dumps(value)))
    for decode in (locust_messages.from_worker, locust_messages.from_master, worker_messages.decoded):
        try:
            decode(kind, raw)
        except ValueError:
            continue
    try:
        master_messages.decoded(kind.replace("status", "begin"), raw)
    except ValueError:
        return


def test_a_master_can_not_set_what_is_not_its_to_set() -> None:
    def told(kind: str, payload: Any) -> Any:
        return locust_messages.from_master(kind, msgspec.Raw(bytes(msgpack.dumps(payload))))

    for kind in ("update_user_class", "locustfile"):
        with pytest.raises(ValueError, match="no worker takes this"):
            told(kind, {"user_class_name": "Subscriber", "host": "evil"})
    with pytest.raises(ValueError, match="no master takes this"):
        locust_messages.from_worker("locustfile", msgspec.Raw(b"\xc0"))


def test_a_workers_texts_are_cut_so_that_a_master_takes_them() -> None:
    error = {"name": "n" * 5_000, "method": "m", "error": "e" * 5_000, "occurrences": 1}
    entry = {"name": "n" * 5_000, "method": "m"}
    stats = {
        "stats": [entry] * 3_000,
        "stats_total": {"name": "Aggregated", "method": ""},
        "errors": {str(number): error for number in range(3_000)},
        "user_classes_count": {},
        "user_count": 0,
    }
    for kind, data in (
        ("stats", stats),
        ("exception", {"msg": "m" * 50_000, "traceback": "t" * 100_000}),
        ("logs", {"worker_id": "w", "logs": ["l" * 5_000] * 5_000}),
    ):
        with pytest.raises(ValueError):
            locust_messages.from_worker(kind, msgspec.Raw(bytes(msgpack.dumps(data))))
        cut = bytes(msgpack.dumps(locust_messages.cut(kind, data)))
        assert locust_messages.from_worker(kind, msgspec.Raw(cut))


def test_a_weight_is_no_sum_to_work_out() -> None:
    for text in ("1e999999999", "1" * 10_000, "1E9"):
        with pytest.raises(ValueError, match="a weight is a number"):
            weight_of(text)


class Line:
    """Stands in for the connection to the workers' agents: keeps the messages instead of sending them."""

    def __init__(self) -> None:
        self.sent: list[tuple[Message, str | None]] = []

    def to_coordinator(self, message: Message) -> None:
        raise AssertionError

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        self.sent.append((message, worker_id))


@pytest.fixture
def coordinator(tmp_path: Path) -> Coordinator:
    run = resolve(load("comments", overrides_of(["clients.readers.count=4", "clients.commenters.count=2"])))
    target = Target("http://127.0.0.1:1/event", api_key="da2-" + "k" * 26)
    members = [WorkerInfo("one", 0, pid=1), WorkerInfo("two", 1, pid=2)]
    return Coordinator(
        Line(), run, Tables(), target, Placement(tmp_path), members, load_prices(None).snapshot(), live=True
    )


def test_a_worker_that_says_it_has_finished_changes_its_own_entry_and_not_who_it_is(
    coordinator: Coordinator,
) -> None:
    coordinator.receive("two", sent(messages.FINISHED, FINISHED))
    first, second = coordinator.workers.described()
    assert (first["worker"], first["id"], first["pid"], first["finished"]) == (0, "one", 1, False)
    assert (second["worker"], second["id"], second["pid"], second["finished"]) == (1, "two", 2, True)
    assert "rows" not in first
    assert second["rows"] == {"deliveries": 1}
    with pytest.raises(ValueError, match="already"):
        coordinator.receive("two", sent(messages.FINISHED, {**FINISHED, "left": "it was told to end"}))
    assert coordinator.workers["two"].left is None
    foreign = {**FINISHED, "files": {"deliveries-0001.arrows": 0}}
    with pytest.raises(ValueError, match="not a file of its spool"):
        coordinator.receive("one", sent(messages.FINISHED, foreign))
    stored = {"pieces": 1, "bytes": 1, "rows": 1, "sha256": "0" * 64}
    for name in ("deliveries-0001.arrows", "../x", "deliveries-0000.arrows/../x"):
        with pytest.raises(ValueError, match="not a file of its spool"):
            coordinator.receive("one", sent(messages.FINISHED, {**FINISHED, "stored": {name: stored}}))
    assert coordinator.workers["one"].pending


def test_a_worker_writes_its_own_spool_and_no_other(coordinator: Coordinator) -> None:
    piece = {"at": 0, "piece": b"x", "crc32": zlib.crc32(b"x")}
    coordinator.receive("two", sent(messages.SPOOL, {"name": "health-0001.arrows", **piece}))
    for name in ("health-0000.arrows", "../manifest.json", "/etc/passwd", "health-0001.arrows/../x"):
        with pytest.raises(ValueError, match="not a file of its spool"):
            coordinator.receive("two", sent(messages.SPOOL, {"name": name, **piece}))
    spool = coordinator.folder.spool
    assert sorted(path.name for path in spool.iterdir()) == ["health-0001.arrows", "shared-with"]


def test_a_worker_can_not_report_more_seconds_than_have_passed(coordinator: Coordinator) -> None:
    histogram = histograms.encoded(histograms.new_histogram())
    status = sent(messages.STATUS, {**STATUS, "histogram": histogram})
    for _ in range(50):
        coordinator.receive("one", status)

    def go_on() -> None:
        for _ in range(150):
            coordinator.receive("one", status)

    with pytest.raises(ValueError, match="more seconds than have passed"):
        go_on()
    assert 50 < coordinator.workers["one"].seconds < 100
    assert len(coordinator._view._recent) <= 40
    # The limit applies to each worker separately, so worker "two" may report.
    coordinator.receive("two", sent(messages.STATUS, {**STATUS, "histogram": histogram}))


def test_names_that_a_worker_makes_up_do_not_fill_the_live_state(coordinator: Coordinator) -> None:
    assert coordinator.live is not None
    for number in range(20):
        report = {
            **REPORT,
            "groups": {"readers": 1, f"group-{number}": 1},
            "statuses": {f"status-{number}": 1, "accepted": 1},
        }
        coordinator.receive("one", sent(messages.STATUS, {**STATUS, "live": [report]}))
    assert coordinator.live.workers[0].groups == {"readers": 20}
    assert coordinator.live.workers[0].statuses == {"accepted": 20}


def test_a_report_that_the_harness_makes_is_taken_as_it_is() -> None:
    maker = RunningStatistics(lambda channel: None, sample_every=2)
    maker.measure_from(1_000)
    interval = maker.begin(0)
    names = ("publisher", "sequence", "intended_ns", "arrival_ns")
    columns = {name: np.arange(10, dtype=np.int64) * SECOND for name in names}
    latency_ns = np.arange(10, dtype=np.int64) * 1_000
    interval.add(columns, latency_ns)
    histogram = histograms.new_histogram()
    histograms.record(histogram, latency_ns)
    event = EventRow(1, 2, 1, "/a", 2 * SECOND, 2, 3, 4, "accepted", None, 1)
    encoded = {"delivery": histograms.encoded(histogram)}
    report = interval.report(events_of([event]), np.array([5, 6], dtype=np.int64), histogram, encoded)
    report |= {"start_ns": 1, "end_ns": 2, "groups": {"readers": 4}}
    report["health"] = HealthSampler(time.sleep).sample(1, None).to_dict()
    (taken,) = sent(messages.STATUS, {**STATUS, "live": [report]}).live
    assert taken.plain().keys() == report.keys()
    assert msgspec.json.encode(taken.plain()) == msgspec.json.encode(
        {name: report[name] for name in taken.plain()}
    )
