"""How many connections fit this machine's local ports, before a run and when there are none left."""

import ipaddress
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.run import limits
from loadgen.run.exits import ExitCode, RunError
from loadgen.transport import local_ports
from loadgen.transport.local_ports import PortRange, TcpSocket, open_sockets, port_range, room
from loadgen.transport.sources import Sources
from tests.system.harness import SMALL, Finished, overrides, start

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
        # Each address of the target has ports of its own, and so has each source.
        ([TARGET, ("10.0.0.8", 443)], [], [], 200),
        ([TARGET, ("10.0.0.9", 80)], [], [], 200),
        ([TARGET], ["10.0.0.1", "10.0.0.2", "10.0.0.3"], [], 300),
        ([TARGET], ["fd00::1"], [], 0),
        ([TARGET, ("fd00::9", 443)], ["fd00::1", "10.0.0.1"], [], 200),
        # In use towards the same target; by a listener; or elsewhere, which is no matter.
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


def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ports, "port_range", lambda: PortRange(40000, 40099, frozenset()))
    monkeypatch.setattr(local_ports, "open_sockets", lambda: iter(()))


def test_a_run_that_does_not_fit_is_refused_and_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    urls = ("ws://127.0.0.1:8700/event/realtime", 60, "http://127.0.0.1:8700/event", 41)
    with pytest.raises(RunError) as refused:
        limits.check_local_ports(*urls, Sources())
    assert refused.value.code == ExitCode.INCONCLUSIVE
    assert str(refused.value) == (
        "the scenario needs 101 connections to 127.0.0.1:8700, but this machine has only 100 local ports left for them"
        " (ip_local_port_range is 40000 to 40099): widen the range (`sysctl -w net.ipv4.ip_local_port_range='1024"
        " 65535'`), name more addresses to connect from with LOADGEN_SOURCE_ADDRESSES, or spread the load over more"
        " machines"
    )
    limits.check_local_ports(*urls, Sources(["127.0.0.2", "127.0.0.3"]))
    # Two addresses of the target: each has its own.
    limits.check_local_ports(urls[0], 60, "http://127.0.0.2:8700/event", 41, Sources())
    limits.check_local_ports(urls[0], 100, None, 0, Sources())


def test_through_a_proxy_all_connections_go_to_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    urls = ("wss://192.0.2.1/event/realtime", 60, "https://192.0.2.2/event", 41)
    limits.check_local_ports(*urls, Sources())
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    with pytest.raises(RunError, match=r"101 connections to 127\.0\.0\.1:3128"):
        limits.check_local_ports(*urls, Sources())


# Machines of their own, with few ports.

NARROW = (
    "ip link set lo up && echo '40000 40099' > /proc/sys/net/ipv4/ip_local_port_range &&"
    ' echo 40020-40021 > /proc/sys/net/ipv4/ip_local_reserved_ports && exec "$@"'
)
EXHAUST = """
import json, socket
from loadgen.transport import local_ports
from loadgen.transport.address import Address
from loadgen.transport.errors import TransportError
listener = socket.create_server(("127.0.0.1", 40010), backlog=256)
address, opened, said, kind = Address("ws://127.0.0.1:40010/"), [], "", ""
for _ in range(7):
    opened.append(address.connect(5))
left = local_ports.room([("127.0.0.1", 40010)], [], local_ports.port_range(), local_ports.open_sockets())
try:
    while len(opened) < 200:
        opened.append(address.connect(5))
except TransportError as error:
    said, kind = str(error), type(error).__name__
print(json.dumps([left, len(opened) - 7, kind, said]))
"""


@pytest.fixture
def few_ports() -> list[str]:
    prefix = ["unshare", "--net", "sh", "-c", NARROW, "sh"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no network namespaces (root only)")
    return prefix


def test_the_count_is_what_the_kernel_gives_and_the_next_is_our_failure(few_ports: list[str]) -> None:
    finished = subprocess.run(
        [*few_ports, sys.executable, "-c", EXHAUST], capture_output=True, text=True, check=False
    )
    left, opened, kind, said = json.loads(finished.stdout)
    assert left == opened == 100 - 2 - 1 - 7, finished.stderr
    assert kind == "LocalAddressError"
    assert said.startswith("no connection to 127.0.0.1:40010 could be begun: this machine has no local port")


def test_a_run_on_a_machine_with_few_ports_is_refused_at_once(few_ports: list[str], tmp_path: Path) -> None:
    more = overrides([*SMALL, "clients.readers.count=300"])
    finished = Finished(start("run", "comments", "--results", str(tmp_path), *more, prefix=few_ports), 60)
    assert finished.code == 3, finished.said
    assert "the scenario needs 303 connections to 127.0.0.1:" in finished.err
    assert (
        "local ports left for them (ip_local_port_range is 40000 to 40099): widen the range" in finished.err
    )
    assert list(tmp_path.glob("*/manifest.json")) == []
