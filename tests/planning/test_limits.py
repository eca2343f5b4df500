"""Test that a run that needs too many local ports is refused before it begins."""

import pytest

from loadgen.exits import ExitCode, RunError
from loadgen.planning import limits
from loadgen.transport import local_ports
from loadgen.transport.local_ports import PortRange
from loadgen.transport.sources import Sources


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
    # Each of the target's two addresses has its own set of local ports.
    limits.check_local_ports(urls[0], 60, "http://127.0.0.2:8700/event", 41, Sources())
    limits.check_local_ports(urls[0], 100, None, 0, Sources())


def test_through_a_proxy_all_connections_go_to_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch)
    urls = ("wss://192.0.2.1/event/realtime", 60, "https://192.0.2.2/event", 41)
    limits.check_local_ports(*urls, Sources())
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:3128")
    with pytest.raises(RunError, match=r"101 connections to 127\.0\.0\.1:3128"):
        limits.check_local_ports(*urls, Sources())
