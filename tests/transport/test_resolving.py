"""Test the resolver with a fake name server."""

import socket
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport import names
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import RemoteAddress, Resolver, UnresolvedError, text_of

V4 = st.integers(1, 2**32 - 2).map(lambda number: socket.inet_ntoa(number.to_bytes(4, "big")))
V6 = st.integers(1, 2**100).map(lambda number: socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big")))


def entries(*hosts: str, port: int = 80) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6, 1, 6, "", (host, port, 0, 0))
        if ":" in host
        else (socket.AF_INET, 1, 6, "", (host, port))
        for host in hosts
    ]


class NameServer:
    """A fake name server that answers with the result of `says` and counts the queries."""

    def __init__(self, *hosts: str) -> None:
        self.says: Callable[[], list[tuple[Any, ...]]] = lambda: entries(*hosts)
        self.asked = 0
        self.takes_s = 0.0

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        gevent.sleep(self.takes_s)
        return self.says()

    def fails(self, error: Exception) -> None:
        def says() -> list[tuple[Any, ...]]:
            raise error

        self.says = says


def hosts(found: tuple[RemoteAddress, ...]) -> list[str]:
    return [str(address.address[0]) for address in found]


def test_many_who_ask_at_once_share_one_query_and_the_answer_is_kept() -> None:
    server = NameServer("192.0.2.2", "192.0.2.1")
    server.takes_s = 0.02
    resolver = Resolver(server)
    asking = [gevent.spawn(resolver.addresses, "a.test", 80, 1.0) for _ in range(50)]
    assert {tuple(hosts(each.get())) for each in asking} == {("192.0.2.1", "192.0.2.2")}
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1", "192.0.2.2"]
    assert server.asked == 1


def test_an_old_answer_is_used_while_the_name_is_asked_for_again() -> None:
    at_s = [0.0]
    server = NameServer("192.0.2.1")
    resolver = Resolver(server, clock=lambda: at_s[0])
    resolver.addresses("a.test", 80, 1.0)
    server.says = lambda: entries("192.0.2.7", "192.0.2.8")
    at_s[0] = 29.9
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]
    gevent.sleep(0)
    assert server.asked == 1
    at_s[0] = 30.0
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]
    gevent.sleep(0.01)
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.7", "192.0.2.8"]
    assert server.asked == 2


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), None])
def test_a_name_server_that_fails_later_changes_nothing_and_is_named(error: Exception | None) -> None:
    at_s, notes = [0.0], list[str]()
    server = NameServer("192.0.2.1")
    resolver = Resolver(server, clock=lambda: at_s[0], on_note=notes.append)
    resolver.addresses("a.test", 80, 1.0)
    if error is None:
        server.says = list
    else:
        server.fails(error)
    for round_ in range(1, 4):
        at_s[0] = 31.0 * round_
        assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]
        gevent.sleep(0.01)
    assert len(notes) == 3
    assert len(set(notes)) == 1
    assert notes[0].startswith("the host name a.test could not be resolved again (")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (socket.gaierror(-3, "Temporary failure in name resolution"), "Temporary failure in name resolution"),
        (UnicodeError("label empty or too long"), "it cannot be written as a name of the DNS"),
        (OSError(24, "Too many open files"), "Too many open files"),
    ],
)
def test_a_name_that_cannot_be_resolved_is_a_failure_of_ours(error: Exception, said: str) -> None:
    server = NameServer()
    server.fails(error)
    resolver = Resolver(server)
    with pytest.raises(UnresolvedError) as raised:
        resolver.addresses("a.test", 80, 1.0)
    assert isinstance(raised.value, OurFailureError)
    assert str(raised.value) == f"the host name a.test cannot be resolved by this machine: {said}"
    # Failures are not cached, so the next connect asks again.
    server.says = lambda: entries("192.0.2.1")
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]


def test_a_resolver_that_does_not_answer_in_time_is_named_and_its_answer_still_counts() -> None:
    server = NameServer("192.0.2.1")
    server.takes_s = 0.1
    resolver = Resolver(server)
    with pytest.raises(UnresolvedError, match=r"no answer of the resolver within 0\.02 s"):
        resolver.addresses("a.test", 80, 0.02)
    assert hosts(resolver.addresses("a.test", 80, 1.0)) == ["192.0.2.1"]
    assert server.asked == 1


@pytest.mark.parametrize(
    ("host", "text", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.9.9.9", "127.9.9.9:80", True),
        ("::1", "[::1]:80", True),
        ("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80", True),
        ("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:80", False),
        ("192.0.2.1", "192.0.2.1:80", False),
        ("0.0.0.0", "0.0.0.0:80", False),
    ],
)
def test_an_address_needs_no_name_server(host: str, text: str, loopback: bool) -> None:
    server = NameServer()
    (address,) = Resolver(server).addresses(host, 80, 1.0)
    assert (address.text, address.loopback) == (text, loopback)
    assert server.asked == 0


@pytest.mark.parametrize("host", ["x.localhost", "a.b.LOCALHOST", "x.localhost."])
@pytest.mark.parametrize("ipv6", [True, False])
def test_a_name_under_localhost_needs_no_name_server(
    host: str, ipv6: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "_has_ipv6", lambda: ipv6)
    server = NameServer()
    addresses = Resolver(server).addresses(host, 80, 1.0)
    assert [address.text for address in addresses] == ["127.0.0.1:80", "[::1]:80"][: 1 + ipv6]
    assert all(address.loopback for address in addresses)
    assert server.asked == 0


@pytest.mark.parametrize("host", ["localhost", "xlocalhost", "localhost.example", "x.localhost.example", ""])
def test_other_names_are_left_to_the_name_server(host: str) -> None:
    assert names.loopback_addresses(host) == ()


@given(st.lists(V4, unique=True, max_size=5), st.lists(V6, unique=True, max_size=5), st.randoms())
def test_all_addresses_are_kept_families_in_turn_whatever_the_order_of_the_answer(
    fours: list[str], sixes: list[str], random: Any
) -> None:
    if not fours and not sixes:
        return
    orders = []
    for _ in range(2):
        mixed = [*fours, *sixes, *fours]
        random.shuffle(mixed)
        mixed.sort(key=lambda host: ":" not in host)
        orders.append(Resolver(NameServer(*mixed)).addresses("a.test", 80, 1.0))
    assert orders[0] == orders[1]
    assert sorted(hosts(orders[0])) == sorted([*fours, *sixes])
    families = [address.family for address in orders[0]]
    pairs = min(len(fours), len(sixes))
    assert families[: 2 * pairs] == [socket.AF_INET6, socket.AF_INET] * pairs


def test_addresses_are_written_as_urls_have_them() -> None:
    assert text_of(("2001:db8::1", 443, 0, 0)) == "[2001:db8::1]:443"
    assert text_of(("192.0.2.1", 443)) == "192.0.2.1:443"
