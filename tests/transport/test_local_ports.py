"""Test the number of connections that fit this machine's local ports."""

import ipaddress
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport.local_ports import PortRange, TcpSocket, open_sockets, port_range, room

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
ESTABLISHED, TIME_WAIT, LISTEN = 1, 6, 10
TARGET = ("10.0.0.9", 443)


def sock(
    port: int, remote: tuple[str, int] = TARGET, *, local: str = "10.0.0.1", state: int = ESTABLISHED
) -> TcpSocket:
    return TcpSocket(ipaddress.ip_address(local), port, ipaddress.ip_address(remote[0]), remote[1], state)


def test_the_systems_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "sys/net/ipv4").mkdir(parents=True)
    (tmp_path / "net").mkdir()
    (tmp_path / "sys/net/ipv4/ip_local_port_range").write_text("32768\t32867\n")
    (tmp_path / "sys/net/ipv4/ip_local_reserved_ports").write_text("22,32770-32779,32860\n")
    found = port_range(tmp_path)
    assert found is not None
    assert found.count == 89
    assert (32768 in found, 32770 in found, 32868 in found, 22 in found) == (True, False, False, False)
    if sys.byteorder == "little":
        tcp = LINE.format(local="0100007F:1F90", remote="00000000:0000", state="0A")
        tcp6 = LINE.format(
            local="0000000000000000FFFF00000100000A:8001",
            remote="0000000000000000FFFF00000900000A:01BB",
            state="01",
        )
        (tmp_path / "net/tcp").write_text(HEADER + tcp)
        (tmp_path / "net/tcp6").write_text(HEADER + tcp6)
        assert list(open_sockets(tmp_path)) == [
            sock(8080, ("0.0.0.0", 0), local="127.0.0.1", state=LISTEN),
            sock(32769),
        ]


def test_a_system_that_does_not_tell_is_not_guessed_at(tmp_path: Path) -> None:
    assert port_range(tmp_path) is None
    assert list(open_sockets(tmp_path)) == []


@pytest.mark.parametrize(
    ("destinations", "sources", "in_use", "expected"),
    [
        ([TARGET], [], [], 100),
        ([TARGET, TARGET], [], [], 100),
        # Each of the target's addresses, and each source address, has a separate set of ports.
        ([TARGET, ("10.0.0.8", 443)], [], [], 200),
        ([TARGET, ("10.0.0.9", 80)], [], [], 200),
        ([TARGET], ["10.0.0.1", "10.0.0.2", "10.0.0.3"], [], 300),
        ([TARGET], ["fd00::1"], [], 0),
        ([TARGET, ("fd00::9", 443)], ["fd00::1", "10.0.0.1"], [], 200),
        # A local port is taken if a socket uses it to reach the same target or listens on it. Sockets to other
        # addresses do not matter.
        ([TARGET], [], [sock(40001), sock(40002), sock(40001)], 98),
        ([TARGET], [], [sock(40001, ("10.0.0.8", 443)), sock(39999)], 100),
        ([TARGET], [], [sock(40001, ("0.0.0.0", 0), state=LISTEN)], 99),
        ([TARGET], ["10.0.0.1", "10.0.0.2"], [sock(40001), sock(40002, local="10.0.0.2")], 198),
        ([TARGET], [], [sock(40001, state=TIME_WAIT)], 99),
        ([("127.0.0.1", 80)], [], [sock(40001, ("127.0.0.1", 80), state=TIME_WAIT)], 100),
        ([("::ffff:10.0.0.9", 443)], [], [sock(40001)], 99),
        ([], [], [], 0),
    ],
)
def test_ports_are_counted_by_source_and_destination(
    destinations: list[tuple[str, int]], sources: list[str], in_use: list[TcpSocket], expected: int
) -> None:
    assert room(destinations, sources, PortRange(40000, 40099, frozenset()), in_use) == expected


@given(
    st.integers(1, 4),
    st.integers(0, 4),
    st.frozensets(st.integers(39990, 40110), max_size=20),
    st.lists(st.integers(39990, 40110), max_size=20),
)
def test_never_more_than_all_ports_nor_fewer_than_none(
    targets: int, sources: int, reserved: frozenset[int], used: list[int]
) -> None:
    ports = PortRange(40000, 40099, reserved)
    destinations = [(f"10.1.0.{number}", 443) for number in range(targets)]
    froms = [f"10.2.0.{number}" for number in range(sources)]
    most = ports.count * targets * max(1, sources)
    busy = [sock(port, destinations[0], local=(froms or ["10.9.9.9"])[0]) for port in used]
    found = room(destinations, froms, ports, busy)
    assert found == most - len({port for port in used if port in ports})
