"""The sockets that a server listens on: its own, or one for each of its processes on the same port."""

import errno
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from loadgen.server.config import ServerConfig

_BACKLOG: Final = 4096
#: How often another free port is tried where one serves several addresses.
_PORT_TRIES: Final = 8
#: An address, or its whole family, that this machine has not got.
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


class StartError(Exception):
    """The server cannot start; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Open sockets of one process, and what TLS needs there."""

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None

    def close(self) -> None:
        """Give the sockets back."""
        for listener in self.sockets:
            listener.close()


async def listen(runner: web.AppRunner, config: ServerConfig) -> int:
    """Open the port and return it: on each address of the host that this machine has.

    Raises:
        StartError: it cannot be.
    """
    tls = _tls_context(config)
    (sockets,) = _opened(config, 1)
    return await accept(runner, Listeners(sockets, tls))


async def accept(runner: web.AppRunner, listeners: Listeners) -> int:
    """Serve on sockets that listen already, and return their port."""
    for listener in listeners.sockets:
        await web.SockSite(runner, listener, ssl_context=listeners.tls, backlog=_BACKLOG).start()
    port: int = listeners.sockets[0].getsockname()[1]
    return port


def open_for_processes(config: ServerConfig) -> list[Listeners]:
    """Return listening sockets for each of the configured processes, all on one port and on each address of the host.

    Each process has a socket of its own (SO_REUSEPORT), and the kernel chooses among them by a hash of the addresses:
    every process gets its share. Of one socket that all inherit, whoever wakes first accepts all that wait there. The
    certificate is loaded once, so that a TLS session which one process began can be resumed at another.

    Raises:
        StartError: it cannot be.
    """
    tls = _tls_context(config)
    return [Listeners(sockets, tls) for sockets in _opened(config, config.processes)]


def _opened(config: ServerConfig, processes: int) -> list[list[socket.socket]]:
    """Return listening sockets for so many processes, one for each address of the host that this machine has.

    A host such as `localhost` has an address of IPv4 and one of IPv6, and a machine may have only the first.

    Raises:
        StartError: it cannot be.
    """
    for left in reversed(range(_PORT_TRIES)):
        opened: list[list[socket.socket]] = [[] for _ in range(processes)]
        port, absent = config.port, None
        try:
            found = socket.getaddrinfo(
                config.host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
                try:
                    if port and processes > 1:
                        # Of two servers with SO_REUSEPORT on one port each would get some of the other's connections.
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
            # The port that was free on one address may be taken on another.
            if left and not config.port and error.errno == errno.EADDRINUSE:
                continue
            raise _why_not(config, port, error) from None
        return opened
    raise AssertionError("unreachable")


def _bound(family: int, address: Any, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As asyncio's servers: no wait for the closed connections of the server before.
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


def _why_not(config: ServerConfig, port: int, error: OSError) -> StartError:
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


def _tls_context(config: ServerConfig) -> ssl.SSLContext | None:
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
