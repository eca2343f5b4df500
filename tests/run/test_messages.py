"""Test that every message between master and worker arrives as sent, and that invalid messages are reported."""

from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.health import HealthSample
from loadgen.measure.running import BOUNDS_NS
from loadgen.measure.surroundings import Around
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run import master_messages as masters
from loadgen.run import messages
from loadgen.run import worker_messages as workers
from loadgen.run.messages import FORMAT, WIRE, Codec, Message, Versioned

RUN = resolve(load("comments")).for_worker()
HEALTH = dict.fromkeys((*HealthSample._fields[:-1], *Around._fields), 1)

_count = st.integers(0, 1 << 53)
_ns = st.integers(-(1 << 62), 1 << 62)
_ns_or_none = st.none() | _ns
_name = st.text(max_size=20)
_name_or_none = st.none() | _name
_counts = st.dictionaries(_name, _count, max_size=5)
_seconds = st.lists(st.tuples(st.integers(-(1 << 53), 1 << 53), _count), max_size=5)
_spread = st.builds(
    workers.Spread,
    counts=st.lists(_count, min_size=len(BOUNDS_NS) + 1, max_size=len(BOUNDS_NS) + 1),
    sum_ns=st.floats(allow_nan=False),
    min_ns=_ns,
    max_ns=_ns,
)
_report = st.builds(
    workers.Report,
    start_ns=_ns,
    end_ns=_ns,
    deliveries=_count,
    groups=_counts,
    histograms=st.dictionaries(_name, _name, max_size=3),
    latency=st.none() | _spread,
    publish=st.none() | _spread,
    negative=_count,
    measured=_name,
    arrived=_seconds,
    sampled=st.lists(st.tuples(_count, _count, _ns, _ns, _ns, _count), max_size=3),
    health=st.none() | st.just(HEALTH),
    statuses=st.just(msgspec.UNSET) | _counts,
    lateness=st.just(msgspec.UNSET) | _name_or_none,
)
_echo = st.builds(
    workers.Echo,
    **dict.fromkeys(("channel", "via"), _name),
    interval_ns=_ns,
    **dict.fromkeys(("payload_bytes", "sent", "returned", "unexpected"), _count),
    **dict.fromkeys(("connects", "subscribes", "lost_connections"), _count),
    errors=_counts,
    note=_name_or_none,
)
_cell = st.none() | st.booleans() | _count | _name | st.lists(_count, max_size=2)
#: A Hypothesis strategy for each type of message.
_stored = st.builds(
    workers.StoredFile,
    **dict.fromkeys(("pieces", "bytes", "rows"), _count),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)
MADE: dict[type[Message], st.SearchStrategy[Any]] = {
    masters.Begin: st.builds(
        masters.Begin,
        run=st.just(RUN),
        target=st.builds(
            masters.TargetPart,
            url=_name,
            login=st.none() | st.dictionaries(_name, _name, max_size=3),
            api_key=_name_or_none,
            protocol_file=st.none() | st.dictionaries(_name, _count | _name, max_size=3),
            allow_remote=st.booleans(),
        ),
        token=st.integers(0, (1 << 31) - 1),
        folder=_name,
        worker=st.integers(0, (1 << 15) - 1),
        sockets=_count,
        websockets=_count,
        workers=st.integers(1, 1 << 15),
        echo_ns=st.none() | st.integers(1, 1 << 62),
        boot_id=_name_or_none,
        live=st.booleans(),
    ),
    masters.Grant: st.builds(
        masters.Grant,
        request=_count,
        granted=st.dictionaries(_name, st.lists(_count, max_size=5), max_size=3),
        values=st.dictionaries(_count, st.dictionaries(_name, _cell, max_size=3), max_size=3),
        places=st.dictionaries(_count, _name, max_size=3),
    ),
    masters.Rows: st.builds(
        masters.Rows,
        data=_name,
        columns=st.lists(_name, max_size=3),
        lines=st.lists(_count, max_size=3),
        cells=st.lists(st.lists(_name, max_size=3), max_size=3),
        last=st.booleans(),
    ),
    masters.Ramp: st.builds(masters.Ramp, ramp_ns=_ns),
    masters.Go: st.builds(masters.Go, warmup_ns=_ns, measure_ns=_ns, measure_end_ns=_ns, drain_end_ns=_ns),
    masters.Finish: st.builds(masters.Finish, drain_ns=st.integers(0, 86_400_000_000_000)),
    masters.SpoolWritten: st.builds(masters.SpoolWritten, name=_name, have=_count, again=st.booleans()),
    masters.Pong: st.builds(
        masters.Pong,
        **dict.fromkeys(("sent_ns", "master_received_ns", "master_sent_ns"), _ns),
        **dict.fromkeys(("bound_ns", "master_bound_ns", "sent_raw_ns", "master_raw_ns"), _ns_or_none),
    ),
    masters.Refuse: st.builds(masters.Refuse, reason=_name),
    masters.StandBy: st.builds(masters.StandBy, reason=_name),
    workers.Hello: st.builds(
        workers.Hello,
        **dict.fromkeys(("version", "weight", "hostname"), _name),
        **dict.fromkeys(("format", "pid"), _count),
        **dict.fromkeys(("address", "boot_id"), _name_or_none),
        cpus=st.none() | _count,
    ),
    workers.Claim: st.builds(workers.Claim, request=_count, wanted=_counts),
    workers.Ping: st.builds(workers.Ping, sent_ns=_ns, sent_raw_ns=_ns_or_none, bound_ns=_ns_or_none),
    workers.Interrupted: st.builds(workers.Interrupted),
    workers.Piece: st.builds(
        workers.Piece,
        name=_name,
        at=_count,
        piece=st.binary(max_size=300),
        crc32=st.integers(0, (1 << 32) - 1),
    ),
    workers.Stored: st.builds(workers.Stored, bytes=_count),
    workers.Status: st.builds(
        workers.Status,
        progress=_counts,
        deliveries=_count,
        complaints=_counts,
        **dict.fromkeys(("fatal", "broken", "histogram", "shortest"), _name_or_none),
        broken_code=st.integers(2, 4),
        absent=st.booleans(),
        live=st.lists(_report, max_size=workers.MOST_REPORTS),
    ),
    workers.Finished: st.builds(
        workers.Finished,
        receive_path=st.sampled_from(["native", "python"]),
        receive_priority=st.sampled_from([None, "normal", "real-time"]),
        **dict.fromkeys(
            ("deliveries", "events", "foreign", "undecodable", "unknown_subscription", "probes"), _count
        ),
        **dict.fromkeys(("probe_deliveries", "spool_bytes"), _count),
        undecodable_kinds=st.lists(
            st.builds(workers.Undecodable, kind=_name, count=_count, example=_name), max_size=3
        ),
        echo=st.none() | _echo,
        deviations=_counts,
        asides=_counts,
        failures=st.lists(
            st.builds(workers.Failure, kind=_name, where=_name, message=_name, count=_count, first_ns=_ns),
            max_size=3,
        ),
        checks=st.dictionaries(_name, st.builds(workers.Check, passed=_count, failed=_count), max_size=3),
        gathered_by=st.sampled_from(["shared folder", "messages", "storage"]),
        stored=st.none() | st.dictionaries(_name, _stored, max_size=2),
        unstored=_name_or_none,
        rows=_counts,
        files=st.none() | _counts,
        left=_name_or_none,
        network=_counts,
        proxies=st.lists(
            st.builds(
                workers.Proxy,
                address=_name,
                variable=_name,
                login=st.booleans(),
                to=st.lists(_name, max_size=2),
            ),
            max_size=2,
        ),
    ),
}
ALL = sorted(MADE, key=lambda of: of.KIND)
SIDES: dict[type[Message], Codec] = {
    of: codec for codec in (masters.CODEC, workers.CODEC) for of in codec.known.values()
}
_any_message = st.sampled_from(ALL).flatmap(lambda of: MADE[of])


def packed(message: Message) -> bytes:
    """Return the bytes that Locust would send as the message's data."""
    return bytes(msgpack.dumps(messages.plain(message)))


def test_there_is_a_strategy_for_every_message_and_no_name_is_given_twice() -> None:
    assert MADE.keys() == SIDES.keys()
    assert len({of.KIND for of in MADE}) == len(MADE)


@pytest.mark.parametrize("of", ALL, ids=lambda of: of.KIND)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_message_arrives_as_it_was_sent(of: type[Message], data: st.DataObject) -> None:
    message = data.draw(MADE[of])
    codec = SIDES[of]
    assert codec.decode(of.KIND, packed(message)) == message
    assert messages.checked(message) == message
    # Only one side sends this message, so the other side's codec does not decode it.
    assert (masters.CODEC if codec is workers.CODEC else workers.CODEC).decode(
        of.KIND, packed(message)
    ) is None
    with pytest.raises(AttributeError, match="immutable"):
        setattr(message, of.__struct_fields__[0] if of.__struct_fields__ else "anything", 1)


def refused(of: type[Message], data: bytes) -> str | None:
    """Return the sentence that refuses data, or None if it is accepted; other exceptions fail the test."""
    try:
        SIDES[of].decode(of.KIND, data)
    except ValueError as error:
        sentence = str(error)
        assert sentence
        return sentence
    return None


@settings(max_examples=150, deadline=None)
@given(message=_any_message, data=st.data())
def test_changed_bytes_are_taken_or_refused_with_one_sentence(message: Message, data: st.DataObject) -> None:
    whole = bytearray(packed(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for changed in (bytes(whole), bytes(whole[:cut]), bytes(whole) + data.draw(st.binary(max_size=4))):
        refused(type(message), changed)


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(-5, 5), inner, max_size=4)
    ),
    max_leaves=10,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values within a plain message."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    if isinstance(value, dict):
        return {key: replaced(each, path[1:], by) if key == path[0] else each for key, each in value.items()}
    return [replaced(each, path[1:], by) if at == path[0] else each for at, each in enumerate(value)]


@settings(max_examples=150, deadline=None)
@given(message=_any_message, value=_values, data=st.data())
def test_a_changed_value_is_taken_within_the_bounds_or_refused_with_one_sentence(
    message: Message, value: Any, data: st.DataObject
) -> None:
    plain = messages.plain(message)
    path = data.draw(st.sampled_from(places(plain)))
    changed = bytes(msgpack.dumps(replaced(plain, path, value)))
    if refused(type(message), changed) is None:
        taken = SIDES[type(message)].decode(message.KIND, changed)
        assert taken is not None
        # A message that was accepted is within the bounds, so it could be sent on unchanged.
        assert msgspec.json.encode(messages.checked(taken)) == msgspec.json.encode(taken)


@settings(max_examples=100, deadline=None)
@given(message=_any_message, found=st.integers(-(2**63), 2**64 - 1))
def test_a_message_of_another_version_is_refused_whatever_is_in_it(message: Message, found: int) -> None:
    of, plain = type(message), messages.plain(message)
    if not isinstance(message, Versioned):
        # These messages let processes of different versions recognize each other. So they contain no version, and may
        # have unknown keys.
        assert WIRE not in plain
        later = bytes(msgpack.dumps({**plain, WIRE: found, "of": "the future"}))
        assert SIDES[of].decode(of.KIND, later) == message
        return
    assert plain.pop(WIRE) == FORMAT
    assert (
        refused(of, bytes(msgpack.dumps(plain)))
        == f"it has no message format, and this process speaks {FORMAT}"
    )
    if found != FORMAT:
        for content in (plain, {}, {"of": "the future"}):
            assert refused(of, bytes(msgpack.dumps({**content, WIRE: found}))) == (
                f"it has message format {found}, and this process speaks {FORMAT}"
            )


NASTY = (
    b"",
    b"\xc1",
    b"\x91" * 100_000 + b"\x01",
    b"\x81\xa1a" * 50_000 + b"\x01",
    b"\x81\xa4wire" + b"\x91" * 100_000,
    b"\x82\xa4wire\x07\xa3run" + b"\x91" * 100_000 + b"\x01",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\x81\xa2\xff\xff\xc0",
)


@pytest.mark.parametrize("of", ALL, ids=lambda of: of.KIND)
def test_what_is_no_message_is_refused(of: type[Message]) -> None:
    for nasty in NASTY:
        assert refused(of, nasty) is not None, nasty[:20]


def test_the_own_messages_of_a_process_are_checked_like_anothers() -> None:
    with pytest.raises(ValueError, match=r">= 0.*\$.at"):
        messages.checked(workers.Piece(name="x", at=-1, piece=b"", crc32=0))
    with pytest.raises(ValueError, match=r">= 0.*\$.drain_ns"):
        messages.checked(masters.Finish(drain_ns=-1))


def test_what_is_sent_is_plain_data_under_the_messages_name() -> None:
    sent: list[tuple[Any, ...]] = []

    class Runner:
        def send_message(self, *arguments: Any) -> None:
            sent.append(arguments)

    messages.send(Runner(), workers.Piece(name="x", at=1, piece=b"\xff", crc32=2))
    messages.send(Runner(), masters.StandBy(reason="later"), "w1")
    assert sent == [
        ("loadgen.spool", {WIRE: FORMAT, "name": "x", "at": 1, "piece": b"\xff", "crc32": 2}, None),
        ("loadgen.stand-by", {"reason": "later"}, "w1"),
    ]
