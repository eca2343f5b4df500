"""Test that a server listens on one port, on all addresses of its host name that the machine has."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadgen.server.process import ServerProcess, ServerStartError

#: Shell commands that set up a simulated machine, with IPv6 or without. `localhost` has an IPv4 and an IPv6 address.
MACHINE = (
    "mount --bind {hosts} /etc/hosts && ip link set lo up && echo {off} > /proc/sys/net/ipv6/conf/all/disable_ipv6"
    ' && exec "$@"'
)
SERVED = """
import json, socket, sys
from urllib.parse import urlsplit
from loadgen.server.process import ServerProcess
with ServerProcess(["--host", sys.argv[1], *sys.argv[2:]]) as server:
    port = urlsplit(server.announcement.http_url).port
    answers = []
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as sock:
            answers.append(sock.connect_ex((address, port)) == 0)
    print(json.dumps(answers))
"""


def served(*arguments: str, prefix: tuple[str, ...] = ()) -> list[bool]:
    """Start a server, and return two values: whether it can be reached at 127.0.0.1, and whether at ::1."""
    finished = subprocess.run(
        [*prefix, sys.executable, "-c", SERVED, *arguments], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    answers: list[bool] = json.loads(finished.stdout)
    return answers


Machine = Callable[[bool], tuple[str, ...]]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a function that makes a prefix for running a command on a simulated machine, with IPv6 or without."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")

    def prefix(ipv6: bool) -> tuple[str, ...]:
        script = MACHINE.format(hosts=hosts, off=0 if ipv6 else 1)
        return ("unshare", "--net", "--mount", "sh", "-c", script, "sh")

    if subprocess.run([*prefix(True), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no namespaces (root only)")
    return prefix


@pytest.mark.parametrize("ipv6", [True, False])
@pytest.mark.parametrize("more", [(), ("--processes", "2")])
def test_localhost_is_served_on_what_there_is(machine: Machine, more: tuple[str, ...], ipv6: bool) -> None:
    assert served("localhost", *more, prefix=machine(ipv6)) == [True, ipv6]


def test_an_address_that_the_machine_has_not_got_is_still_refused(machine: Machine) -> None:
    finished = subprocess.run(
        [*machine(False), sys.executable, "-c", SERVED, "::1"], capture_output=True, text=True, check=False
    )
    assert "host '::1' is not an address of this machine" in finished.stderr
    with (
        pytest.raises(ServerStartError, match="is not an address of this machine"),
        ServerProcess(["--host", "192.0.2.1"]),
    ):
        pass


@contextmanager
def _taken(address: str) -> Iterator[int]:
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("more", [[], ["--processes", "2"]])
def test_a_port_that_is_taken_on_one_of_the_addresses_is_refused(more: list[str]) -> None:
    with (
        _taken("127.0.0.1") as port,
        pytest.raises(ServerStartError, match=f"port {port} on localhost is taken"),
        ServerProcess(["--host", "localhost", "--port", str(port), *more]),
    ):
        pass
    with ServerProcess(["--host", "localhost", "--port", str(port), *more]) as server:
        assert urlsplit(server.announcement.http_url).port == port
