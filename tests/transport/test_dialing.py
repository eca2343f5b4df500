"""Test the dialer with listeners on several loopback addresses."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gevent
import pytest

from loadgen.protocol.base import HttpRequest
from loadgen.transport import dialing
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer, DialError, ForbiddenAddressError, remote_of
from loadgen.transport.errors import TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import DialingError, Resolver, UnresolvedError
from tests.transport.test_resolving import NameServer, entries


@pytest.fixture
def nets() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listening(
    nets: contextlib.ExitStack,
    *hosts: str,
    silent: Sequence[str] = (),
    refusing: Sequence[str] = (),
    deaf: contextlib.ExitStack | None = None,
) -> int:
    """Listen on a port that is free on all of the addresses; return it.

    Connects to the ``silent`` addresses are not answered until ``deaf`` is closed (default is ``nets``).
    Connects to the ``refusing`` addresses are refused. The port is bound there too, so that no parallel test
    can listen on it.
    """
    deaf = nets if deaf is None else deaf
    for _ in range(20):
        anyone = (*hosts, *silent, *refusing)[0]
        with socket.create_server((anyone, 0), family=family_of(anyone)) as first:
            port: int = first.getsockname()[1]
        with contextlib.ExitStack() as tried, contextlib.ExitStack() as tried_silent:
            try:
                for host in hosts:
                    tried.enter_context(
                        socket.create_server((host, port), family=family_of(host), backlog=128)
                    )
                for host in refusing:
                    tried.enter_context(socket.socket()).bind((host, port))
                for host in silent:
                    listener = tried_silent.enter_context(socket.socket())
                    listener.bind((host, port))
                    listener.listen(0)
            except OSError:
                continue
            nets.enter_context(tried.pop_all())
            deaf.enter_context(tried_silent.pop_all())
        for host in silent:
            _fill(deaf, host, port)
        return port
    raise AssertionError("no port is free")


def _fill(nets: contextlib.ExitStack, host: str, port: int) -> None:
    """Fill the backlog of a listener, so that the kernel drops further connects."""
    for _ in range(3):
        filling = nets.enter_context(socket.socket())
        filling.setblocking(False)
        filling.connect_ex((host, port))
    time.sleep(0.01)


def dialer(port: int, *hosts: str, **named: Any) -> Dialer:
    server = NameServer()
    server.says = lambda: entries(*hosts, port=port)
    return Dialer(resolver=Resolver(server), **named)


def reached(of: Dialer, port: int, timeout_s: float = 5.0) -> str:
    with of.connect("name.test", port, timeout_s) as raw:
        found = remote_of(raw)
    assert found is not None
    return found.rpartition(":")[0]


def test_connections_are_spread_over_all_addresses_and_workers_begin_apart(
    nets: contextlib.ExitStack,
) -> None:
    those = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    port = listening(nets, *those)
    firsts = []
    for worker in range(4):
        its = dialer(port, *reversed(those), offset=worker)
        order = [reached(its, port) for _ in range(9)]
        assert Counter(order) == dict.fromkeys(those, 3)
        assert order[:3] == order[3:6] == order[6:]
        firsts.append(order[0])
    assert firsts == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]


def test_both_families_take_part(nets: contextlib.ExitStack) -> None:
    those = ("::1", "127.0.0.1", "127.0.0.2")
    port = listening(nets, *those)
    its = dialer(port, *those)
    assert Counter(reached(its, port) for _ in range(6)) == {"[::1]": 2, "127.0.0.1": 2, "127.0.0.2": 2}


def test_a_silent_address_costs_the_head_start_once_and_is_said_once(nets: contextlib.ExitStack) -> None:
    port = listening(nets, "127.0.0.2", "127.0.0.3", silent=("127.0.0.1",))
    notes: list[str] = []
    its = dialer(port, "127.0.0.1", "127.0.0.2", "127.0.0.3", on_note=notes.append)
    begun = time.monotonic()
    assert reached(its, port) == "127.0.0.2"
    took_s = time.monotonic() - begun
    assert took_s >= dialing.HEAD_START_S
    assert took_s < 3
    # No connection goes to the silent address any more; the other two addresses get equal numbers.
    assert Counter(reached(its, port) for _ in range(10)) == {"127.0.0.2": 5, "127.0.0.3": 5}
    assert notes == [
        f"127.0.0.1:{port} of name.test does not answer within 250 ms: connections go to its other addresses, and every"
        " 30 s one tries it again"
    ]


def test_an_address_that_was_left_out_is_tried_again_by_one_connect(
    nets: contextlib.ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "SILENT_S", 0.3)
    with contextlib.ExitStack() as deaf:
        port = listening(nets, "127.0.0.2", silent=("127.0.0.1",), deaf=deaf)
        its = dialer(port, "127.0.0.1", "127.0.0.2")
        assert {reached(its, port) for _ in range(3)} == {"127.0.0.2"}
    nets.enter_context(socket.create_server(("127.0.0.1", port)))
    gevent.sleep(0.35)
    assert reached(its, port) == "127.0.0.1"
    assert Counter(reached(its, port) for _ in range(4)) == {"127.0.0.1": 2, "127.0.0.2": 2}


def test_an_address_that_refuses_costs_nothing_and_is_said(nets: contextlib.ExitStack) -> None:
    port = listening(nets, "127.0.0.2", refusing=("127.0.0.1",))
    notes: list[str] = []
    its = dialer(port, "127.0.0.1", "127.0.0.2", on_note=notes.append)
    begun = time.monotonic()
    assert {reached(its, port) for _ in range(5)} == {"127.0.0.2"}
    assert time.monotonic() - begun < dialing.HEAD_START_S
    assert len(notes) == 1
    assert "cannot be connected to (Connection refused)" in notes[0]


def test_where_no_address_answers_the_timeout_is_for_all_together(nets: contextlib.ExitStack) -> None:
    port = listening(nets, silent=("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    its = dialer(port, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    begun = time.monotonic()
    with pytest.raises(DialError) as raised:
        its.connect("name.test", port, 0.8)
    assert 0.8 <= time.monotonic() - begun < 2
    assert str(raised.value) == (
        f"name.test:{port}: Connection timed out (tried 127.0.0.1, 127.0.0.2, 127.0.0.3)"
    )
    assert raised.value.remote is not None


def test_a_refusal_by_all_names_the_last(nets: contextlib.ExitStack) -> None:
    port = listening(nets, refusing=("127.0.0.1", "127.0.0.2"))
    with pytest.raises(DialError, match=r"Connection refused \(tried 127\.0\.0\.1, 127\.0\.0\.2\)") as raised:
        dialer(port, "127.0.0.1", "127.0.0.2").connect("name.test", port, 1.0)
    assert raised.value.remote == f"127.0.0.2:{port}"
    with pytest.raises(DialError, match=f"^127.0.0.1:{port}: Connection refused$"):
        Dialer().connect("127.0.0.1", port, 1.0)


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open_of_those_that_lost(nets: contextlib.ExitStack) -> None:
    port = listening(nets, "127.0.0.3", silent=("127.0.0.1", "127.0.0.2"))
    before = descriptors()
    its = dialer(port, "127.0.0.1", "127.0.0.2", "127.0.0.3")
    assert reached(its, port) == "127.0.0.3"
    waiting = gevent.spawn(dialer(port, "127.0.0.1").connect, "name.test", port, 5.0)
    gevent.sleep(0.05)
    waiting.kill()
    assert descriptors() == before


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "0.0.0.0"])
def test_another_machine_is_not_connected_to_unless_that_is_allowed(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(dialing, "_RawSocket", never)
    failures: list[DialingError] = []
    with pytest.raises(ForbiddenAddressError) as raised:
        Dialer(on_failed=failures.append).connect(host, 80, 1.0)
    assert "is not this machine (no loopback address)" in str(raised.value)
    assert "--allow-remote" in str(raised.value)
    assert failures == [raised.value]
    with pytest.raises(AssertionError, match="a socket was opened"):
        Dialer(allow_remote=True).connect(host, 80, 1.0)


def test_a_name_that_leads_elsewhere_later_is_refused_then(nets: contextlib.ExitStack) -> None:
    port, at_s = listening(nets, "127.0.0.1"), [0.0]
    server = NameServer()
    server.says = lambda: entries("127.0.0.1", port=port)
    its = Dialer(resolver=Resolver(server, clock=lambda: at_s[0]))
    assert reached(its, port) == "127.0.0.1"
    server.says = lambda: entries("127.0.0.1", "192.0.2.1", port=port)
    at_s[0] = 31.0
    assert reached(its, port) == "127.0.0.1"
    gevent.sleep(0.01)
    for _ in range(3):
        with pytest.raises(
            ForbiddenAddressError, match=r"^name\.test is 192\.0\.2\.1, which is not this machine"
        ):
            its.connect("name.test", port, 1.0)


def test_the_last_look_is_at_the_address_itself() -> None:
    """Before it connects, the dialer checks the address itself, so that the check does not depend on the resolver."""
    its = Dialer()
    (there,) = Resolver().addresses("192.0.2.1", 80, 1.0)
    with pytest.raises(ForbiddenAddressError):
        its._begin(there, "x")


def test_websocket_and_http_go_through_the_dialer_they_are_given() -> None:
    server = NameServer()
    server.fails(socket.gaierror(-2, "Name or service not known"))
    failures: list[DialingError] = []
    its = Dialer(resolver=Resolver(server), on_failed=failures.append)
    with pytest.raises(UnresolvedError):
        Address("ws://name.test/", None, its).connect(1.0)
    client = GeventHttpClient("http://name.test/event", 1, dialer=its)
    with pytest.raises(UnresolvedError):
        client.post(b"{}", {})
    with pytest.raises(UnresolvedError):
        GeventHttpClient("https://name.test/event", 1, dialer=its).post(b"{}", {})
    assert len(failures) == 3
    assert all(isinstance(failure, OurFailureError) for failure in failures)


def test_a_request_is_stamped_when_a_connection_takes_it(nets: contextlib.ExitStack) -> None:
    port = listening(nets, "127.0.0.2", silent=("127.0.0.1",))
    client = GeventHttpClient(
        f"http://name.test:{port}/event", 1, timeout_s=2, dialer=dialer(port, "127.0.0.1", "127.0.0.2")
    )
    made: list[tuple[int, str | None]] = []

    def make(sent_ns: int, remote: str | None) -> HttpRequest:
        made.append((sent_ns, remote))
        return HttpRequest(b"{}", {})

    before_ns = time.time_ns()
    client.submit(make, lambda *_: None)
    assert made == []
    with gevent.Timeout(3):
        while not made:
            gevent.sleep(0.01)
    ((sent_ns, remote),) = made
    assert sent_ns - before_ns >= dialing.HEAD_START_S * 1e9
    assert remote == f"127.0.0.2:{port}"


def test_a_request_that_gets_no_connection_is_never_made(nets: contextlib.ExitStack) -> None:
    port = listening(nets, refusing=("127.0.0.1",))
    told: list[TransportError | None] = []

    def make(*_: Any) -> Any:
        raise AssertionError("made")

    client = GeventHttpClient(f"http://127.0.0.1:{port}/event", 2)
    for _ in range(5):
        client.submit(make, lambda _status, _body, error: told.append(error))
    with gevent.Timeout(3):
        while len(told) < 5:
            gevent.sleep(0.01)
    assert {str(error) for error in told} == {f"127.0.0.1:{port}: Connection refused"}


def test_what_waits_for_a_connection_when_a_client_is_closed_is_told_and_never_sent(
    nets: contextlib.ExitStack,
) -> None:
    port = listening(nets, silent=("127.0.0.1",))
    told: list[str] = []
    client = GeventHttpClient(f"http://127.0.0.1:{port}/event", 1, timeout_s=0.3)
    for _ in range(3):
        client.send(b"{}", {}, lambda _status, _body, error: told.append(str(error)))
    gevent.sleep(0.02)
    client.close()
    assert told == [f"127.0.0.1:{port}: no connection could be opened in time"] * 3
    gevent.sleep(0.4)
    assert len(told) == 3
    with pytest.raises(TransportError, match="the client is closed"):
        client.post(b"{}", {})
