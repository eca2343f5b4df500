"""The sockets that a server listens on, for one process or for several that share a port."""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from aiohttp import web

from loadgen.transport.names import is_under_localhost

_BACKLOG: Final = 4096
#: Number of attempts to find a port that is free on every address of the host.
_PORT_TRIES: Final = 8
#: Errors that mean that this machine does not have an address, or has no addresses of its family.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class StartError(Exception):
    """The server cannot start; the message is one sentence."""


class Address(Protocol):
    """The address to listen on and its certificate; `ServerConfig` implements this protocol."""

    @property
    def host(self) -> str:
        """The name or address to listen on."""

    @property
    def port(self) -> int:
        """The port, or 0 for a free one."""

    @property
    def certfile(self) -> Path | None:
        """The PEM certificate chain, or None to serve without TLS."""

    @property
    def keyfile(self) -> Path | None:
        """The PEM key of the certificate."""

    @property
    def processes(self) -> int:
        """The number of processes that share the port."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets of one process, and their TLS context or None."""

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None

    def close(self) -> None:
        """Close the sockets."""
        for listener in self.sockets:
            listener.close()


async def listen(runner: web.AppRunner, config: Address) -> int:
    """Listen on each address of the host that this machine has; return the port.

    Raises:
        StartError: the port cannot be opened, or the certificate cannot be loaded.
    """
    tls = _tls_context(config)
    (sockets,) = _opened(config, 1)
    return await accept(runner, Listeners(sockets, tls))


async def accept(runner: web.AppRunner, listeners: Listeners) -> int:
    """Serve on sockets that already listen; return their port."""
    for listener in listeners.sockets:
        await web.SockSite(runner, listener, ssl_context=listeners.tls, backlog=_BACKLOG).start()
    port: int = listeners.sockets[0].getsockname()[1]
    return port


def open_for_processes(config: Address) -> list[Listeners]:
    """Return listening sockets for each of the configured processes, all on one port and on each address of the host.

    Each process has its own socket (SO_REUSEPORT), and the kernel distributes connections over them by a hash of the
    addresses. With one inherited socket, the process that wakes first would accept all waiting connections. The
    certificate is loaded once, so that a TLS session begun with one process can be resumed with another.

    Raises:
        StartError: the port cannot be opened, or the certificate cannot be loaded.
    """
    tls = _tls_context(config)
    return [Listeners(sockets, tls) for sockets in _opened(config, config.processes)]


def _opened(config: Address, processes: int) -> list[list[socket.socket]]:
    """Return the listening sockets of each process, one for each address of the host that this machine has.

    A host such as `localhost` may have an IPv6 address even on a machine without IPv6.

    Raises:
        StartError: the host has no address here, or the port cannot be opened.
    """
    # Resolve a name such as `api.localhost` as `localhost`: the C library would ask a name server for it (RFC 6761,
    # 6.3).
    host = "localhost" if is_under_localhost(config.host) else config.host or None
    for left in reversed(range(_PORT_TRIES)):
        opened: list[list[socket.socket]] = [[] for _ in range(processes)]
        port, absent = config.port, None
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
                try:
                    if port and processes > 1:
                        # Fail if the port is in use: two servers with SO_REUSEPORT would share their connections.
                        _bound(family, address, port, shared=False).close()
                    for sockets in opened:
                        listener = _bound(family, address, port, shared=processes > 1)
                        sockets.append(listener)
                        listener.listen(_BACKLOG)
                        port = listener.getsockname()[1]
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    absent = error
            if absent is not None and not opened[0]:
                raise absent
        except OSError as error:
            for sockets in opened:
                Listeners(sockets, None).close()
            # A port that the kernel chose for one address may be taken on another address: try again.
            if left and not config.port and error.errno == errno.EADDRINUSE:
                continue
            raise _why_not(config, port, error) from None
        return opened
    raise AssertionError("unreachable")


def _bound(family: int, address: Any, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Do not wait for closed connections of an earlier server (TIME_WAIT); asyncio's servers set the same option.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address[0], port, *address[2:]))
    except BaseException:
        listener.close()
        raise
    return listener


def _why_not(config: Address, port: int, error: OSError) -> StartError:
    if isinstance(error, socket.gaierror):
        return StartError(f"host {config.host!a} has no address: name a local one, as 127.0.0.1")
    if error.errno == errno.EADDRINUSE:
        return StartError(
            f"port {port} on {config.host} is taken by another program: "
            "stop that one, or choose another port with --port (0 takes a free one)"
        )
    if error.errno == errno.EACCES:
        return StartError(f"port {port} on {config.host} needs privileges: choose one above 1023 with --port")
    if error.errno == errno.EADDRNOTAVAIL:
        return StartError(
            f"host {config.host!a} is not an address of this machine: choose one that is with --host"
        )
    return StartError(f"cannot listen on port {port} of {config.host}: {os.strerror(error.errno or 0)}")


def _tls_context(config: Address) -> ssl.SSLContext | None:
    if config.certfile is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.certfile, config.keyfile)
    except (ssl.SSLError, OSError):
        raise StartError(
            f"{str(config.certfile)!a} and {str(config.keyfile)!a} are not a PEM certificate and its key: "
            "check that they belong together"
        ) from None
    return context
