"""Open the sockets of a run: every WebSocket, byte stream and HTTP connection is dialed here.

New connections use all addresses of a name in turn. An address that does not answer delays a connect by 250 ms instead
of its timeout: the next address is tried in parallel, and the first one to answer wins (Happy Eyeballs, RFC 8305). The
silent address is then skipped for a while and retried now and then. If the run may not leave this machine, that is
enforced here, on the address that the socket connects to.
"""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gevent
from gevent.monkey import get_original

from loadgen.protocol.hosts import is_loopback
from loadgen.transport.errors import TransportError, describe
from loadgen.transport.local_ports import LocalAddressError
from loadgen.transport.port_windows import PortWindows
from loadgen.transport.proxy import Proxy
from loadgen.transport.resolving import DialingError, RemoteAddress, Resolver, text_of
from loadgen.transport.sources import Sources
from loadgen.transport.tunnel import connected
from loadgen.transport.waiting import Signal

#: Time for an address to answer before the next is tried in parallel (RFC 8305, 8, recommends 250 ms).
HEAD_START_S: Final = 0.25
#: How long an address is skipped: `SILENT_S` after it did not answer, `REFUSED_S` after it refused.
SILENT_S: Final = 30.0
REFUSED_S: Final = 5.0
#: An address that answered recently is skipped only after it lost to another address, tried in parallel, in this many
#: connects in a row. One connect is not enough, since a single lost packet also delays an answer.
_OVERTAKEN_MOST: Final = 3

_RawSocket = get_original("socket", "socket")
#: Linux makes a socket non-blocking as it creates it, which saves a system call.
_NONBLOCK: Final[int] = getattr(socket, "SOCK_NONBLOCK", 0)
_STREAM: Final = socket.SOCK_STREAM | _NONBLOCK
#: libev's EV_WRITE.
_WRITE = 2


class ForbiddenAddressError(DialingError):
    """The run may connect to this machine only, and the address is not loopback."""


class DialError(TransportError):
    """No address of the name could be connected to; ``remote`` is the last one that was tried."""

    def __init__(self, sentence: str, remote: str | None) -> None:
        super().__init__(sentence)
        self.remote = remote


@dataclass(slots=True)
class _Memory:
    """State of an address from earlier connects; times are of `time.monotonic`."""

    answered_s: float = float("-inf")
    #: Time at which connects stop skipping the address, or 0 if they use it.
    out_until_s: float = 0.0
    #: Number of connects, since this address last answered, that another address tried in parallel won.
    overtaken: int = 0


class _Attempt:
    """A socket that is connecting, or has connected."""

    __slots__ = ("_watcher", "address", "begun_s", "socket")

    def __init__(self, address: RemoteAddress, connecting: socket.socket) -> None:
        self.address, self.socket = address, connecting
        self.begun_s = time.monotonic()
        self._watcher: Any = None

    def watch(self, settled: Signal) -> None:
        """Set ``settled`` once the socket has connected or failed."""
        if self._watcher is None:
            self._watcher = gevent.get_hub().loop.io(self.socket.fileno(), _WRITE)
            self._watcher.start(settled.set_now)

    def unwatch(self) -> None:
        """Stop the watcher; call this before the descriptor is closed or passed on."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()

    def give_up(self) -> None:
        """Stop the watcher and close the socket."""
        self.unwatch()
        self.socket.close()


class Dialer:
    """Opens the sockets of one worker.

    ``allow_remote`` permits connections beyond loopback. ``sources`` are the local addresses to connect from; if there
    are none, the kernel chooses an address. ``offset`` is the worker's number, so that workers do not all begin with
    the first address. ``on_failed`` is called with each `DialingError`, and ``on_note`` with notices for the user.
    """

    def __init__(
        self,
        *,
        allow_remote: bool = False,
        resolver: Resolver | None = None,
        sources: Sources | None = None,
        offset: int = 0,
        on_failed: Callable[[DialingError], None] = lambda error: None,
        on_note: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.allow_remote = allow_remote
        #: Chooses in turn the local addresses that sockets are bound to.
        self.sources = sources or Sources()
        self._resolver = resolver or Resolver(on_note=on_note)
        self._offset = offset
        self._on_failed = on_failed
        self._on_note = on_note
        self._turns: dict[tuple[str, int], int] = {}
        self._memory: dict[str, _Memory] = {}
        self._ports = PortWindows.of_this_machine()

    def connect(self, host: str, port: int, timeout_s: float, through: Proxy | None = None) -> socket.socket:
        """Return a connected, non-blocking raw socket with TCP_NODELAY; blocks the calling greenlet.

        ``timeout_s`` covers resolving and all addresses together. With ``through`` the connection is a tunnel of that
        proxy: the proxy resolves the name, and the target counts as remote even if the proxy is local.

        Raises:
            ProxyError: the proxy could not be reached or did not open a tunnel.
            DialError: no address answers, or all refuse.
            LocalAddressError: this machine has no port or address left to connect from.
            UnresolvedError: this machine cannot resolve the name.
            ForbiddenAddressError: an address of the name is not loopback, and ``allow_remote`` is not set.
        """
        if through is not None:
            if not self.allow_remote:
                forbidden = ForbiddenAddressError(
                    f"{host} is reached through the proxy {through.name}: nothing is sent there without --allow-remote"
                )
                self._on_failed(forbidden)
                raise forbidden
            return connected(through, self.connect, host, port, timeout_s)
        deadline_s = time.monotonic() + timeout_s
        addresses = self.permitted(host, port, timeout_s)
        try:
            return self._race(self._order(host, port, addresses), host, port, deadline_s)
        except DialingError as error:
            self._on_failed(error)
            raise

    def permitted(self, host: str, port: int, timeout_s: float) -> tuple[RemoteAddress, ...]:
        """Return the addresses of a name if the run may connect to all of them.

        Raises:
            UnresolvedError: this machine cannot resolve the name.
            ForbiddenAddressError: an address of the name is not loopback, and ``allow_remote`` is not set.
        """
        try:
            addresses = self._resolver.addresses(host, port, timeout_s)
            for address in addresses:
                self._demand_permitted(address, host)
        except DialingError as error:
            self._on_failed(error)
            raise
        return addresses

    def _demand_permitted(self, address: RemoteAddress, host: str) -> None:
        if self.allow_remote or address.loopback:
            return
        where = address.text.rpartition(":")[0]
        name = where if where.strip("[]") == host else f"{host} is {where}, which"
        raise ForbiddenAddressError(
            f"{name} is not this machine (no loopback address): nothing is sent there without --allow-remote"
        )

    def _order(self, host: str, port: int, addresses: tuple[RemoteAddress, ...]) -> Sequence[RemoteAddress]:
        """Return the addresses in the order to try: the working ones in rotation, then those skipped after a failure.

        An address whose skip time is over comes first, for one connect only.
        """
        if len(addresses) == 1:
            return addresses
        now_s = time.monotonic()
        out: list[RemoteAddress] = []
        there: list[RemoteAddress] = []
        for address in addresses:
            memory = self._memory.get(address.text)
            if memory is not None and memory.out_until_s > now_s:
                out.append(address)
            elif memory is not None and memory.out_until_s:
                # The time for which the address is skipped is over. Let this connect try it, and other connects skip it
                # until it has answered.
                memory.out_until_s = now_s + SILENT_S
                return [address, *(each for each in addresses if each is not address)]
            else:
                there.append(address)
        turn = self._turns.get((host, port), self._offset)
        self._turns[host, port] = turn + 1
        if there:
            begin = turn % len(there)
            there = there[begin:] + there[:begin]
        return there + out

    def _race(self, order: Iterable[RemoteAddress], host: str, port: int, deadline_s: float) -> socket.socket:
        waiting = iter(order)
        racing: list[_Attempt] = []
        failed: list[tuple[RemoteAddress, OSError]] = []
        settled = Signal()
        try:
            while True:
                address = next(waiting, None)
                if address is not None:
                    try:
                        racing.append(self._begin(address, host))
                    except OSError as error:
                        failed.append((address, error))
                        continue
                elif not racing:
                    raise self._error(failed, f"{host}:{port}")
                # There is no further address to start in parallel: wait until the deadline.
                until_s = deadline_s if address is None else time.monotonic() + HEAD_START_S
                winner = self._await_one(racing, failed, settled, min(until_s, deadline_s))
                if winner is not None:
                    racing.remove(winner)
                    winner.unwatch()
                    self._remember(winner.address, racing, failed, host)
                    return winner.socket
                if time.monotonic() >= deadline_s:
                    timeout = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
                    failed += [(attempt.address, timeout) for attempt in racing]
                    raise self._error(failed, f"{host}:{port}")
        finally:
            for attempt in racing:
                attempt.give_up()

    def _begin(self, address: RemoteAddress, host: str) -> _Attempt:
        """Begin to connect; raises OSError if that fails at once."""
        # Check again, immediately before connecting, that the run may connect to this address.
        self._demand_permitted(address, host)
        raw: socket.socket = _RawSocket(address.family, _STREAM, socket.IPPROTO_TCP)
        try:
            if not _NONBLOCK:
                raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sources.bind(raw)
            code = self._ports.connect(raw, address.address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except BaseException:
            raw.close()
            raise
        return _Attempt(address, raw)

    @staticmethod
    def _await_one(
        racing: list[_Attempt],
        failed: list[tuple[RemoteAddress, OSError]],
        settled: Signal,
        until_s: float,
    ) -> _Attempt | None:
        """Wait for an attempt to connect; return None if an attempt failed, none is left, or ``until_s`` has passed."""
        while racing:
            settled.clear()
            lost = False
            for attempt in tuple(racing):
                # Check first whether an attempt has succeeded, which is usual: a connect within this machine is
                # complete at once.
                if remote_of(attempt.socket) is not None:
                    return attempt
                code = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    lost = True
                    racing.remove(attempt)
                    attempt.give_up()
                    failed.append((attempt.address, OSError(code, os.strerror(code))))
                else:
                    attempt.watch(settled)
            # Compute the time left from the clock: gevent counts timeouts from the event loop's time, which lags when
            # the loop is busy.
            left_s = until_s - time.monotonic()
            if lost or left_s <= 0:
                return None
            settled.wait(left_s)
        return None

    # The following methods maintain the memory of addresses.

    def _remember(
        self,
        winner: RemoteAddress,
        overtaken: list[_Attempt],
        failed: list[tuple[RemoteAddress, OSError]],
        host: str,
    ) -> None:
        """Remember which addresses answered, which were too slow, and which failed."""
        now_s = time.monotonic()
        memory = self._memory.get(winner.text)
        if memory is None:
            memory = self._memory[winner.text] = _Memory()
        memory.answered_s, memory.out_until_s, memory.overtaken = now_s, 0.0, 0
        for attempt in overtaken:
            # Do not count an attempt that had just begun when the other won: its address was not slow.
            if now_s - attempt.begun_s >= HEAD_START_S:
                self._overtaken(attempt.address, now_s, host)
        for address, error in failed:
            self._leave_out(address, now_s + REFUSED_S)
            # Do not report that another loopback address has failed: many servers listen on only one of them.
            if not (address.loopback and is_loopback(host)):
                self._on_note(
                    f"{address.text} of {host} cannot be connected to ({error.strerror or error}): connections go to"
                    " its other addresses"
                )

    def _overtaken(self, address: RemoteAddress, now_s: float, host: str) -> None:
        memory = self._memory.setdefault(address.text, _Memory())
        memory.overtaken += 1
        if memory.overtaken < _OVERTAKEN_MOST and now_s - memory.answered_s < SILENT_S:
            return
        self._leave_out(address, now_s + SILENT_S)
        self._on_note(
            f"{address.text} of {host} does not answer within {HEAD_START_S * 1e3:.0f} ms: connections go to its other"
            f" addresses, and every {SILENT_S:.0f} s one tries it again"
        )

    def _leave_out(self, address: RemoteAddress, until_s: float) -> None:
        self._memory.setdefault(address.text, _Memory()).out_until_s = until_s

    @staticmethod
    def _error(failed: list[tuple[RemoteAddress, OSError]], name: str) -> TransportError:
        address, error = failed[-1]
        if error.errno == errno.EADDRNOTAVAIL:
            return LocalAddressError(name)
        reason = describe(error, name)
        if len(failed) > 1:
            tried = ", ".join(each.text.rpartition(":")[0] for each, _ in failed[:_ADDRESSES_NAMED])
            more = len(failed) - _ADDRESSES_NAMED
            reason += f" (tried {tried}{f' and {more} more' if more > 0 else ''})"
        return DialError(reason, address.text)


_ADDRESSES_NAMED: Final = 4


def remote_of(sock: socket.socket) -> str | None:
    """Return the `address:port` that a socket is connected to, or None if it is not connected."""
    try:
        return text_of(sock.getpeername())
    except OSError:
        return None
