"""Test that one connection's data, or a failure of the harness on it, does not affect other connections.

The tests use real sockets and pollers, because one watcher of the event loop reads all sockets of a worker.
"""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import gevent
import pytest
from websockets.frames import Opcode

from loadgen import native
from loadgen.measure.failures import HARNESS
from loadgen.protocol import unreadable
from loadgen.protocol.base import SessionHandler
from loadgen.users.life import Life
from loadgen.users.life_record import LifeRecord
from loadgen.users.subscriptions import Subscriptions
from tests.authority import trusted
from tests.isolation import corpus
from tests.isolation.trio import BAD, KINDS, Outcome, frame, meet, poller

POLLERS = [
    pytest.param(
        "native", marks=pytest.mark.skipif(not native.available, reason="the native path was not built")
    ),
    "python",
]
COUNT = 20
#: Frames that a service may send, and frames that the WebSocket protocol forbids.
FRAMES = [
    frame(data, opcode, fin)
    for opcode in Opcode
    for data in (b"", b"ab", b"\xff\xff", b"\x03\xe8ok", b"\x00\x01x", b"\x03\xe8\xff", corpus.BAD_TEXT)
    for fin in (True, False)
    if fin or opcode < Opcode.CLOSE
]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    with trusted(tmp_path_factory.mktemp("authority")) as context:
        yield context


def others_have_everything(outcome: Outcome) -> None:
    received = outcome.received()
    assert (received[0], received[2]) == (COUNT, COUNT)
    assert {0, 2}.isdisjoint(outcome.ended)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize("name", list(KINDS))
def test_a_service_that_says_anything_to_one_harms_no_other(
    name: str, kind: str, tls: bool, context: ssl.SSLContext, tmp_path: Path
) -> None:
    of = KINDS[name]
    for seed in range(6 if tls else 10):
        random = Random(f"{name} {seed}")

        def bad(k: int, random: Random = random) -> bytes:
            if of.framed and random.randrange(4) == 0:
                return corpus.damaged(random, FRAMES)
            message = corpus.damaged(random, of.messages)
            if not of.framed:
                return message
            return frame(message, random.choice((Opcode.TEXT, Opcode.TEXT, Opcode.BINARY)))

        folder = tmp_path / str(seed)
        folder.mkdir()
        with poller(kind):
            outcome = meet(folder, name, bad, count=COUNT, context=context if tls else None)
        others_have_everything(outcome)
        assert outcome.failures.to_list() == [], f"seed {seed}"


@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize(
    ("name", "message", "expected", "example"),
    [
        ("appsync", corpus.BAD_TEXT, unreadable.MESSAGE_NOT_UTF8, r'{"type":"data","id":"\xff","event":"x"}'),
        ("mqtt", corpus.BAD_TOPIC, unreadable.TOPIC_NOT_UTF8, r"0\x05\x00\x01\xb5\x00\xff"),
        ("nats", corpus.NATS[7], unreadable.DELIVERY_NOT_UTF8, r"MSG default.a s1 2\r\n\xff\xff"),
    ],
)
def test_one_bad_message_is_counted_and_the_next_is_taken(
    name: str, kind: str, message: bytes, expected: str, example: str, tmp_path: Path
) -> None:
    of = KINDS[name]
    # Use a binary frame: in a text frame, bytes that are not UTF-8 would end the connection.
    wire = frame(message, Opcode.BINARY) if of.framed else message
    with poller(kind):
        outcome = meet(tmp_path, name, lambda k: wire * (k == 5) + of.delivery(BAD, k), count=COUNT)
    assert outcome.received() == {0: COUNT, 1: COUNT, 2: COUNT}
    assert outcome.ended == []
    assert outcome.recorder.undecodable.to_list() == [{"kind": expected, "count": 1, "example": example}]
    assert outcome.failures.to_list() == []


@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize(
    ("wire", "what"),
    [
        (b"\x8f\x00", "a frame with the reserved opcode 0xF"),
        (frame(corpus.BAD_TEXT), "a message of text that is not UTF-8"),
    ],
)
def test_a_broken_frame_ends_its_connection_at_once_and_is_named(
    kind: str, wire: bytes, what: str, tmp_path: Path
) -> None:
    with poller(kind):
        outcome = meet(tmp_path, "appsync", lambda k: wire if k == 5 else b"", count=COUNT)
    others_have_everything(outcome)
    assert outcome.ended == [BAD]
    ((kind_of,),) = [outcome.recorder.undecodable.to_list()]
    assert (kind_of["kind"], kind_of["count"]) == (unreadable.FRAME_UNREADABLE, 1)
    assert f"broke the WebSocket protocol: {what}" in kind_of["example"]
    (row,) = [row for row in outcome.rows("connections") if row["connection"] == BAD and row["closed_ns"]]
    assert "broke the WebSocket protocol" in row["error"]
    assert outcome.failures.to_list() == []


class Panic(BaseException):
    """Derives from `BaseException`, not `Exception`, like the exception that a panic in Rust raises."""


ERRORS = [
    KeyError("s9"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    Panic("null"),
    gevent.GreenletExit(),
    MemoryError(),
]


class Hearing:
    """A client's handler in which `on_event` is replaced."""

    def __init__(self, handler: SessionHandler, on_event: Callable[..., None]) -> None:
        self._handler, self.on_event = handler, on_event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize("name", list(KINDS))
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_ours_ends_the_connection_that_it_came_up_in(
    name: str, kind: str, error: BaseException, tmp_path: Path
) -> None:
    def hearing(handler: SessionHandler) -> SessionHandler:
        count = 0

        def on_event(*arguments: Any) -> None:
            nonlocal count
            count += 1
            if count == 3:
                raise error
            handler.on_event(*arguments)

        return Hearing(handler, on_event)

    with poller(kind):
        outcome = meet(tmp_path, name, lambda k: KINDS[name].delivery(BAD, k), count=COUNT, hearing=hearing)
    others_have_everything(outcome)
    assert outcome.ended == [BAD]
    assert outcome.received()[BAD] == 2
    (failure,) = outcome.failures.to_list()
    assert (failure["kind"], failure["count"]) == (HARNESS, 1)
    assert failure["message"].startswith(type(error).__name__)
    assert "test_sockets.py" in failure["where"]
    for table, number in (("connections", "connection"), ("subscriptions", "subscription")):
        rows = [row for row in outcome.rows(table) if row[number] == BAD]
        assert rows[-1]["intent"] == "harness failure"
        assert rows[-1]["error"] is None
    assert outcome.recorder.undecodable.count == 0


@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize(
    ("owner", "where"), [(LifeRecord, "ended"), (LifeRecord, "_row"), (Subscriptions, "end"), (Life, "row")]
)
def test_an_error_in_ending_a_connection_is_reported_too(
    kind: str, owner: type, where: str, tmp_path: Path
) -> None:
    def hearing(handler: SessionHandler) -> SessionHandler:
        def on_event(*_: Any) -> None:
            was, begun = getattr(owner, where), False

            def broken(*arguments: Any, **named: Any) -> Any:
                # Fail only once. The connection of the client that gets the bad data is the first to end.
                nonlocal begun
                if begun:
                    return was(*arguments, **named)
                begun = True
                raise RuntimeError(where)

            patch.setattr(owner, where, broken)
            raise KeyError("first")

        return Hearing(handler, on_event)

    with poller(kind), pytest.MonkeyPatch.context() as patch:
        outcome = meet(
            tmp_path, "appsync", lambda k: KINDS["appsync"].delivery(BAD, k), count=COUNT, hearing=hearing
        )
    others_have_everything(outcome)
    messages = [failure["message"] for failure in outcome.failures.to_list()]
    assert messages[0] == "KeyError: 'first'"
    assert messages[1] == f"RuntimeError: {where}"
    assert outcome.ended == [BAD]


@pytest.mark.parametrize("kind", POLLERS)
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["interrupt", "exit"])
def test_an_interrupt_goes_to_the_main_greenlet_and_the_sockets_are_read_on(
    kind: str, error: BaseException, tmp_path: Path
) -> None:
    raised: list[BaseException] = []

    def hearing(handler: SessionHandler) -> SessionHandler:
        def on_event(*arguments: Any) -> None:
            if not raised:
                raised.append(error)
                raise error
            handler.on_event(*arguments)

        return Hearing(handler, on_event)

    caught: list[BaseException] = []
    sleep = gevent.sleep

    def patient(seconds: float) -> None:
        # The interrupt goes to the main greenlet, in which the test runs.
        try:
            sleep(seconds)
        except (KeyboardInterrupt, SystemExit) as error:
            caught.append(error)

    with poller(kind), pytest.MonkeyPatch.context() as patch:
        patch.setattr(gevent, "sleep", patient)
        outcome = meet(
            tmp_path, "appsync", lambda k: KINDS["appsync"].delivery(BAD, k), count=COUNT, hearing=hearing
        )
    assert len(caught) == 1
    assert type(caught[0]) is type(error)
    others_have_everything(outcome)
    # The interrupt loses the data that was just being read, so the connection `BAD` is ended. But it is not counted as
    # a failure of the harness.
    assert outcome.ended == [BAD]
    assert [row["intent"] for row in outcome.rows("connections") if row["connection"] == BAD][-1] == (
        "harness failure"
    )
    assert outcome.failures.to_list() == []
