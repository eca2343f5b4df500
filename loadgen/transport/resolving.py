"""Resolve a host name to all of its addresses.

A process resolves each name once, and again every 30 s while it opens connections, without blocking the event loop. If
a later query fails, the known addresses stay in use. A failure of the first query counts as a failure of the machine
that generates the load, not of the service.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import gevent
import gevent.socket
from gevent.monkey import get_original

from loadgen.protocol.hosts import is_loopback
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.names import loopback_addresses

#: Age of an answer after which the next connect resolves the name again.
FRESH_S: Final = 30.0
_getaddrinfo_at_once = get_original("socket", "getaddrinfo")

#: Called like `socket.getaddrinfo(host, port, type=…)`.
LookUp = Callable[..., Sequence[tuple[Any, ...]]]


class DialingError(OurFailureError):
    """The harness or its machine prevented a connection attempt; the service is not at fault."""

    def __init__(self, sentence: str) -> None:
        TransportError.__init__(self, sentence)


class UnresolvedError(DialingError):
    """This machine cannot resolve a name."""


class RemoteAddress(NamedTuple):
    """One address and port that a name resolves to."""

    family: int
    #: The address in the form that `socket.connect` takes.
    address: tuple[Any, ...]
    #: The address as text in the run's record: `192.0.2.1:443` or `[2001:db8::1]:443`.
    text: str
    loopback: bool

    @classmethod
    def of(cls, family: int, address: tuple[Any, ...]) -> "RemoteAddress":
        """Return the RemoteAddress for a socket address as `getaddrinfo` or `getpeername` returns it."""
        return cls(family, address, text_of(address), is_loopback(str(address[0])))


class Resolver:
    """Resolves and caches host names; a worker has one.

    Greenlets that ask for the same name at the same time share one query. ``look_up`` must not block the event loop.
    ``on_note`` is called with notices for the user, one sentence each.
    """

    def __init__(
        self,
        look_up: LookUp = gevent.socket.getaddrinfo,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
        on_note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._look_up = look_up
        self._fresh_s = fresh_s
        self._clock = clock
        self._on_note = on_note
        #: The known addresses by (host, port), with the time (of ``clock``) after which the name is resolved again.
        self._known: dict[tuple[str, int], tuple[tuple[RemoteAddress, ...], float]] = {}
        self._asking: dict[tuple[str, int], Any] = {}

    def addresses(self, host: str, port: int, timeout_s: float) -> tuple[RemoteAddress, ...]:
        """Return all addresses of a name, at least one; blocks the calling greenlet if they are not known yet.

        Raises:
            UnresolvedError: this machine cannot resolve the name, or not in time.
        """
        key = (host, port)
        known = self._known.get(key)
        if known is None:
            literal = tuple(
                address for each in loopback_addresses(host) or (host,) for address in _literal(each, port)
            )
            if literal:
                self._known[key] = literal, float("inf")
                return literal
            return self._first_answer(key, timeout_s)
        addresses, until_s = known
        if self._clock() >= until_s and key not in self._asking:
            self._ask(key)
        return addresses

    def _first_answer(self, key: tuple[str, int], timeout_s: float) -> tuple[RemoteAddress, ...]:
        asking = self._asking.get(key) or self._ask(key)
        try:
            answer = asking.get(timeout=timeout_s)
        except gevent.Timeout:
            answer = f"no answer of the resolver within {timeout_s:g} s"
        if isinstance(answer, str):
            raise UnresolvedError(f"the host name {key[0]} cannot be resolved by this machine: {answer}")
        addresses: tuple[RemoteAddress, ...] = answer
        return addresses

    def _ask(self, key: tuple[str, int]) -> Any:
        asking = self._asking[key] = gevent.spawn(self._answer, key)
        return asking

    def _answer(self, key: tuple[str, int]) -> tuple[RemoteAddress, ...] | str:
        """Resolve a name; cache and return its addresses, or return the reason why there are none."""
        host, port = key
        try:
            found = self._look_up(host, port, type=socket.SOCK_STREAM)
            addresses = _in_order(RemoteAddress.of(entry[0], entry[4]) for entry in found)
            reason = "" if addresses else "no address"
        except UnicodeError:
            addresses, reason = (), "it cannot be written as a name of the DNS"
        except OSError as error:
            addresses, reason = (), error.strerror or str(error) or type(error).__name__
        finally:
            self._asking.pop(key, None)
        if addresses:
            self._known[key] = addresses, self._clock() + self._fresh_s
            return addresses
        known = self._known.get(key)
        if known is not None:
            self._known[key] = known[0], self._clock() + self._fresh_s
            self._on_note(
                f"the host name {host} could not be resolved again ({reason}): connections go to its addresses of"
                " before"
            )
        return reason


def text_of(address: tuple[Any, ...]) -> str:
    """Return an address and port as text, such as `192.0.2.1:443`, in the form that the run's record uses."""
    host = str(address[0])
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def _literal(host: str, port: int) -> tuple[RemoteAddress, ...]:
    """Return the address if ``host`` is an IP address, or an empty tuple if it is a name."""
    try:
        found = _getaddrinfo_at_once(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ()
    return _in_order(RemoteAddress.of(entry[0], entry[4]) for entry in found)


def _in_order(found: Any) -> tuple[RemoteAddress, ...]:
    """Return each address once, alternating between families; the first address's family leads (RFC 8305, 4).

    Addresses of a family are sorted, since name servers rotate their answers and all workers must use the same order.
    """
    by_family: dict[int, set[RemoteAddress]] = {}
    for address in found:
        by_family.setdefault(address.family, set()).add(address)
    queues = [sorted(those, key=_place) for those in by_family.values()]
    ordered: list[RemoteAddress] = []
    for place in range(max(map(len, queues), default=0)):
        ordered += [queue[place] for queue in queues if place < len(queue)]
    return tuple(ordered)


def _place(address: RemoteAddress) -> Any:
    host = str(address.address[0]).partition("%")[0]
    return int(ipaddress.ip_address(host)), address.text
