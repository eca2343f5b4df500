"""Test that connections use several source addresses of this machine in turn."""

import socket
from collections import Counter

import pytest

from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.transport.sources import VARIABLE, SourceError, Sources


def test_connections_leave_from_the_addresses_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "127.0.0.2, 127.0.0.3,127.0.0.4")
    dialer = Dialer(sources=Sources.from_environment())
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        address = Address(f"ws://127.0.0.1:{server.getsockname()[1]}/", dialer=dialer)
        opened = [address.connect(5.0) for _ in range(9)]
        seen = Counter(server.accept()[1][0] for _ in opened)
        for sock in opened:
            sock.close()
    assert seen == {"127.0.0.2": 3, "127.0.0.3": 3, "127.0.0.4": 3}


def test_the_port_is_chosen_when_it_is_known_where_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened = []
        for number in range(2, 6):
            sock = socket.socket()
            Sources([f"127.0.0.{number}"]).bind(sock)
            assert sock.getsockname()[1] == 0  # the kernel chooses it at connect
            sock.connect(server.getsockname())
            opened.append(sock)
        assert len({sock.getsockname()[0] for sock in opened}) == 4
        for sock in opened:
            sock.close()


def test_without_the_variable_the_kernel_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Sources.from_environment().addresses == ()


@pytest.mark.parametrize(
    ("value", "said"), [("here", "which is not an IP address"), ("203.0.113.9", "ip address add 203.0.113.9")]
)
def test_what_cannot_be_used_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(SourceError, match=said):
        Sources.from_environment()


def test_a_target_of_the_other_family_is_refused_and_not_reached_from_elsewhere() -> None:
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(OSError, match="assign requested address"):
        Sources(["127.0.0.2"]).bind(sock)
