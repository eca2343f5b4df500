"""Test how far an error reaches: functions that contain it, HTTP requests, connections being opened."""

import contextlib
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from loadgen import native
from loadgen.client.event_client import EventClient
from loadgen.measure.undecodable import Undecodable
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import PublishAnswer
from loadgen.transport import isolation
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.websocket import WebSocket
from loadgen.users.senders import HttpSender
from tests.isolation import corpus
from tests.isolation.trio import Peer, greet_appsync
from tests.transport.test_http import OK, says, served


class Source:
    def __init__(self, *failures: BaseException) -> None:
        self.told: list[BaseException] = []
        self._failures = list(failures)

    def failed(self, error: BaseException) -> None:
        self.told.append(error)
        if self._failures:
            raise self._failures.pop(0)


def test_a_source_is_told_what_it_has_raised_and_what_its_end_has() -> None:
    first, second = KeyError("a"), RuntimeError("b")
    source = Source(second)
    isolation.contain(source, first)
    assert source.told == [first, second]


def test_a_source_that_cannot_end_is_given_to_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    source = Source(RuntimeError("b"), RuntimeError("c"))
    isolation.contain(source, KeyError("a"))
    assert len(source.told) == 2
    assert "RuntimeError: c" in capsys.readouterr().err


def test_a_callback_that_is_run_for_a_source_raises_nothing() -> None:
    source = Source()
    error = gevent.GreenletExit()

    def broken(at: int) -> None:
        assert at == 3
        raise error

    isolation.run(source, broken, 3)
    assert source.told == [error]


@pytest.mark.skipif(not native.available, reason="the native path was not built")
def test_the_native_poller_goes_on_even_where_containing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poller passes errors to a function that must never raise. In this test, that function raises."""
    contained: list[BaseException] = []

    def contain(source: object, error: BaseException) -> None:
        contained.append(error)
        raise RuntimeError("no end to it")

    class Raw:
        def __init__(self) -> None:
            self.took: list[bytes] = []

        def take(self, data: bytes, *_times: int) -> None:
            self.took.append(data)
            if data == b"bad":
                raise KeyError(data)

    poller = native.Poller(contain)
    pairs = [socket.socketpair() for _ in range(3)]
    sources = [Raw() for _ in pairs]
    for (ours, _), source in zip(pairs, sources, strict=True):
        poller.add(ours.fileno(), source, 0)  # type: ignore[arg-type]
    # The poller reports errors of `contain` to `sys.unraisablehook`, which would print them.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    for said in (b"bad", b"good"):
        for _, theirs in pairs:
            theirs.send(said)
        deadline = time.monotonic() + 20
        while not all(source.took[-1:] == [said] for source in sources):
            assert time.monotonic() < deadline
            select.select([poller.fileno()], [], [], 0.05)
            poller.process(256)
    assert [source.took for source in sources] == [[b"bad", b"good"]] * 3
    assert [type(error) for error in contained] == [KeyError] * 3
    for ours, theirs in pairs:
        poller.remove(ours.fileno())
        ours.close()
        theirs.close()


def test_who_takes_an_answer_and_raises_harms_no_other_request() -> None:
    failures: list[BaseException] = []
    answers: list[int] = []

    def broken(status: int, body: bytes, error: TransportError | None) -> None:
        raise KeyError("mine")

    with served(says(OK, pause_s=0)) as (url, accepted):
        client = GeventHttpClient(url, 1, on_failed=failures.append)
        for number in range(5):
            client.send(b"{}", {}, broken if number == 2 else lambda status, *_: answers.append(status))
        with gevent.Timeout(60):
            while len(answers) < 4:
                gevent.sleep(0.001)
        client.close()
    assert answers == [200] * 4
    assert [type(error) for error in failures] == [KeyError]
    assert len(accepted) == 1, "the connection goes on"


def test_who_is_told_that_time_is_up_and_raises_keeps_no_other_waiting() -> None:
    failures: list[BaseException] = []
    told: list[str] = []

    def broken(status: int, body: bytes, error: TransportError | None) -> None:
        raise KeyError("mine")

    def silent(peer: socket.socket, _number: int) -> bool:
        time.sleep(1)
        return False

    with served(silent) as (url, _):
        client = GeventHttpClient(url, 3, timeout_s=0.2, on_failed=failures.append)
        for number in range(3):
            client.send(b"{}", {}, broken if number == 0 else lambda *answer: told.append(str(answer[2])))
        with gevent.Timeout(60):
            while len(told) < 2:
                gevent.sleep(0.01)
    assert all("no answer to the publish in time" in error for error in told)
    assert len(failures) == 1


@pytest.mark.parametrize("answer", corpus.HTTP_ANSWERS)
def test_whatever_is_answered_is_one_outcome_and_no_failure_of_ours(answer: bytes) -> None:
    failures: list[BaseException] = []
    outcomes: list[tuple[PublishAnswer | None, TransportError | None]] = []
    undecodable = Undecodable()
    with served(says(answer, go_on=False, pause_s=0)) as (url, _):
        service = AppSyncEvents(Endpoints.from_url(url), ApiKey("k"))
        client = GeventHttpClient(url, 1, timeout_s=2, on_failed=failures.append)
        sender = HttpSender(service, client, undecodable)
        sender.send(
            "p1",
            "/default/a",
            lambda sent_ns, remote: ["{}"],
            lambda said, at_ns, error: outcomes.append((said, error)),
        )
        with gevent.Timeout(60):
            while not outcomes:
                gevent.sleep(0.001)
        gevent.sleep(0.01)
        client.close()
    assert len(outcomes) == 1
    assert failures == []
    said, error = outcomes[0]
    assert (said is None) == (error is not None)


def test_an_answer_that_cannot_be_read_is_counted() -> None:
    undecodable = Undecodable()
    outcomes: list[str] = []
    with served(says(b"\xff\xff\xff\xff\r\n\r\n", go_on=False)) as (url, _):
        service = AppSyncEvents(Endpoints.from_url(url), ApiKey("k"))
        sender = HttpSender(service, GeventHttpClient(url, 1), undecodable)
        sender.send(
            "p1",
            "/default/a",
            lambda sent_ns, remote: ["{}"],
            lambda said, at_ns, error: outcomes.append(str(error)),
        )
        with gevent.Timeout(60):
            while not outcomes:
                gevent.sleep(0.001)
    (kind,) = undecodable.to_list()
    assert kind["kind"] == "HTTP answer that cannot be read"
    assert "the connection broke off" in outcomes[0]


def listening(speak: Callable[[socket.socket], None]) -> tuple[socket.socket, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                speak(peer)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    return listener, thread


def test_an_error_of_ours_while_opening_is_told_to_who_opens() -> None:
    failed: list[BaseException] = []
    listener, thread = listening(lambda peer: peer.sendall(peer.recv(65536)[:20]))
    stream = WebSocket(
        Address(f"ws://127.0.0.1:{listener.getsockname()[1]}/"),
        subprotocols=(),
        headers={},
        on_text=lambda *_: None,
        on_closed=lambda *_: None,
        on_failed=failed.append,
    )

    def broken(*_: Any) -> None:
        raise KeyError("mine")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WebSocket, "_step", broken)
        with pytest.raises(OurFailureError, match="the harness failed: KeyError: 'mine'"):
            stream.open(5)
    thread.join(60)
    listener.close()
    assert [type(error) for error in failed] == [KeyError]
    assert not stream.is_open


def test_an_error_of_ours_is_not_the_service_hanging_up() -> None:
    listener, thread = listening(lambda peer: greet_appsync(Peer(peer, None), 1))
    service = AppSyncEvents(
        Endpoints.from_url(f"http://127.0.0.1:{listener.getsockname()[1]}/event"), ApiKey("k")
    )
    told: list[BaseException] = []
    client = EventClient(service, on_failed=told.append)

    def broken(arrival_ns: int) -> None:
        raise KeyError("mine")

    client.on_connected = broken  # type: ignore[method-assign]
    client.open(5)
    with pytest.raises(OurFailureError):
        client.login(5)
    assert client.why == "the harness failed: KeyError: 'mine'"
    assert [type(error) for error in told] == [KeyError]
    listener.close()
    thread.join(60)
