"""Test runs in network namespaces with few local ports: the check before a run, and a run out of ports."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.harness import SMALL, Finished, overrides, start

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
