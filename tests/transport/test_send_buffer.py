"""Test bytes that a socket does not accept at once, with real sockets that are read late or never."""

import socket
from collections.abc import Iterator

import gevent
import pytest

from loadgen.transport import bounds
from loadgen.transport.send_buffer import SendBuffer
from tests.waiting import wait_for


class Owner:
    def __init__(self) -> None:
        self.errors: list[BaseException] = []

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def read(theirs: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        gevent.sleep(0)
        try:
            data += theirs.recv(1 << 20)
        except BlockingIOError:
            gevent.sleep(0.001)
    return data


def test_all_is_sent_in_order_and_said_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    whole = b"".join(b"%07d" % number for number in range(300_000))
    sent = ours.send(whole)
    assert sent < len(whole)
    told: list[int] = []
    buffer = SendBuffer(ours, memoryview(whole)[sent:], Owner(), lambda: told.append(len(buffer)))
    assert buffer.add(b"the end")
    assert len(buffer) == len(whole) - sent + 7
    gevent.sleep(0.01)
    assert not told
    assert read(theirs, len(whole) + 7) == whole + b"the end"
    wait_for(lambda: told)
    assert told == [0]


def test_what_exceeds_the_bound_is_refused_whole(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "UNSENT_BYTES", 10)
    buffer = SendBuffer(pair[0], b"12345", Owner(), lambda: None)
    assert buffer.add(b"67890")
    assert not buffer.overflowed
    assert not buffer.add(b"1")
    assert (len(buffer), buffer.overflowed) == (10, True)
    buffer.close()


def test_an_error_of_the_callback_goes_to_the_owner(pair: tuple[socket.socket, socket.socket]) -> None:
    owner, wrong = Owner(), RuntimeError("ours")

    def raises() -> None:
        raise wrong

    SendBuffer(pair[0], b"12345", owner, raises)
    wait_for(lambda: owner.errors)
    assert owner.errors == [wrong]
    assert read(pair[1], 5) == b"12345"


def test_a_socket_that_has_broken_off_keeps_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    told: list[bool] = []
    pair[1].close()
    SendBuffer(pair[0], b"12345", Owner(), lambda: told.append(True))
    wait_for(lambda: told)


def test_nothing_is_sent_after_it_was_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    SendBuffer(pair[0], b"12345", Owner(), lambda: None).close()
    gevent.sleep(0.01)
    with pytest.raises(BlockingIOError):
        pair[1].recv(10)
