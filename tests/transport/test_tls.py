"""Test TLS over memory buffers.

If a read ends within a TLS record, the arrival time of the record's plaintext is uncertain; the tests check the stated
bounds of this error.
"""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.transport.tls import Tls, TlsSessions
from tests.authority import trusted
from tests.tls_server import Server, shake_hands

ARRIVAL, READ, WITHIN, END = 1_000, 1_001, 50, 7


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Tls, Server]]:
    with trusted(tmp_path) as context:
        server, client = Server(context), Tls(ssl.create_default_context(), "127.0.0.1")
        shake_hands(client, server)
        yield client, server


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed_and_replaced_after_a_minute(tmp_path: Path, version: ssl.TLSVersion) -> None:
    now_s = 1_000.0
    sessions = TlsSessions(lambda: now_s)
    with trusted(tmp_path) as served:
        context = ssl.create_default_context()
        context.maximum_version = version

        def connected() -> Tls:
            session = sessions.session
            assert session is None or isinstance(session, ssl.SSLSession)
            client, server = Tls(context, "127.0.0.1", session), Server(served)
            shake_hands(client, server)
            # In TLS 1.3 the server sends session tickets after the handshake, before the first data.
            assert decrypted(client, server.record(b"hello"))[0][0] == b"hello"
            assert server.tls.session_reused is client.resumed
            sessions.keep(client)
            return client

        assert not connected().resumed
        first = sessions.session
        assert first is not None
        assert connected().resumed
        assert sessions.session is first
        now_s += 61
        assert connected().resumed
        assert sessions.session is not first
        assert connected().resumed


def test_no_session_is_resumed_unless_one_is_given(tmp_path: Path) -> None:
    with trusted(tmp_path) as served:
        context = ssl.create_default_context()
        for _ in range(2):
            client, server = Tls(context, "127.0.0.1"), Server(served)
            shake_hands(client, server)
            decrypted(client, server.record(b"hello"))
            assert not client.resumed


def decrypted(client: Tls, data: bytes) -> list[tuple[bytes, int, int]]:
    """Return (plaintext, `within_ns`, `end_ns`) of each decrypted piece.

    `within_ns` bounds the error in the arrival time of a message that ends inside the piece, and `end_ns` that of a
    message that ends where the piece ends.
    """
    parts: list[tuple[bytes, int, int]] = []

    def take(part: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        assert (arrival_ns, read_ns) == (ARRIVAL, READ)
        parts.append((bytes(part), within_ns, end_ns))

    assert client.decrypt(data, take, ARRIVAL, READ, WITHIN, END)
    return parts


def test_only_the_last_record_of_a_read_ends_with_it(pair: tuple[Tls, Server]) -> None:
    client, server = pair
    decrypted(client, b"")
    both = server.record(b"one") + server.record(b"two")
    assert decrypted(client, both) == [(b"one", WITHIN, WITHIN), (b"two", WITHIN, END)]
    assert client.is_between_records()


def test_no_record_ends_with_a_read_that_ends_within_the_next(pair: tuple[Tls, Server]) -> None:
    client, server = pair
    decrypted(client, b"")
    both = server.record(b"one") + server.record(b"two")
    assert decrypted(client, both[:-1]) == [(b"one", WITHIN, WITHIN)]
    assert not client.is_between_records()
    assert decrypted(client, both[-1:]) == [(b"two", WITHIN, END)]
    assert client.is_between_records()


def test_the_native_poller_continues_where_this_left_off(pair: tuple[Tls, Server]) -> None:
    client, server = pair
    decrypted(client, b"")
    write, read = client.ends()
    write(server.record(b"by the poller"))
    buffer = bytearray(100)
    assert buffer[: read(100, buffer)] == b"by the poller"
    assert decrypted(client, server.record(b"again")) == [(b"again", WITHIN, END)]


def test_what_is_encrypted_the_server_reads(pair: tuple[Tls, Server]) -> None:
    client, server = pair
    server.incoming.write(client.encrypt(b"hello"))
    assert server.tls.read() == b"hello"
    assert client.to_send() == b""


def test_garbage_is_a_failure_of_tls(pair: tuple[Tls, Server]) -> None:
    with pytest.raises(ssl.SSLError):
        decrypted(pair[0], b"\x17\x03\x03\x00\x05nope!")
