"""Open a tunnel through a forward proxy, by CONNECT.

See RFC 9110, section 9.3.6.
"""

import re
import socket
import time
from collections.abc import Callable
from typing import Final

import gevent

from loadgen.protocol.unreadable import shown
from loadgen.transport.errors import TransportError, describe
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.proxy import Proxy, ProxyError, authority_of

#: Longest answer to CONNECT, headers and interim answers included.
ANSWER_MOST_BYTES: Final = 16 * 1024
_PEEK_BYTES: Final = 4096
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
_BEGINNING: Final = b"HTTP/1."
_READ, _WRITE = 1, 2

#: Connects to (host, port) within a timeout (s) and returns a non-blocking socket; raises TransportError.
Dial = Callable[[str, int, float], socket.socket]


def connected(proxy: Proxy | None, dial: Dial, host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connected, non-blocking socket to a host, through a proxy unless ``proxy`` is None.

    ``dial`` connects directly. ``timeout_s`` covers connecting and the tunnel together.

    Raises:
        ProxyError: the proxy could not be reached or did not open a tunnel.
        TransportError: ``dial`` failed, either without a proxy, or with one but for a reason on this machine.
    """
    if proxy is None:
        return dial(host, port, timeout_s)
    deadline_s = time.monotonic() + timeout_s
    try:
        raw = dial(proxy.host, proxy.port, timeout_s)
    except OurFailureError:
        raise
    except TransportError as error:
        raise ProxyError(f"the proxy that {proxy.variable} names cannot be reached: {error}") from None
    try:
        open_tunnel(proxy, raw, host, port, deadline_s - time.monotonic())
    except BaseException:
        raw.close()
        raise
    return raw


def open_tunnel(proxy: Proxy, raw: socket.socket, host: str, port: int, timeout_s: float) -> None:
    """Open a tunnel to ``host`` over a non-blocking socket that is connected to the proxy.

    From then on the socket carries the target's bytes; no byte after the proxy's answer is consumed. Blocks the calling
    greenlet.

    Raises:
        ProxyError: the tunnel was not opened; the caller closes the socket.
    """
    authority = authority_of(host, port)
    headers = {"host": authority, "user-agent": "loadgen", **proxy.headers()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"CONNECT {authority} HTTP/1.1\r\n{lines}\r\n"
    late = ProxyError(f"the proxy {proxy.name} did not answer in time when asked to connect to {authority}")
    # Update the event loop's cached time, from which gevent counts a timeout: an idle loop has not updated it for long.
    gevent.get_hub().loop.update_now()
    try:
        with gevent.Timeout(max(0.001, timeout_s), late):
            _send(raw, request.encode("ascii"))
            status, reason = _answer(proxy, raw)
    except OSError as error:
        raise ProxyError(f"the proxy broke off: {describe(error, proxy.name)}") from None
    if not 200 <= status < 300:
        raise ProxyError(_refusal(proxy, authority, status, reason))


def _answer(proxy: Proxy, raw: socket.socket) -> tuple[int, str]:
    """Return the status and reason of the answer to CONNECT, skipping interim answers."""
    most_bytes = ANSWER_MOST_BYTES
    while True:
        head, follows = _head(proxy, raw, most_bytes)
        match = _STATUS.match(head)
        if match is None:
            raise _no_http(proxy, head)
        status = int(match[1])
        if status >= 200:
            break
        # This is an interim answer (RFC 9110, 15.2); the final answer follows.
        most_bytes -= len(head)
        if most_bytes <= 0:
            raise _endless(proxy)
    if follows and status < 300:
        # These bytes come from the proxy itself, since the target never sends first.
        raise ProxyError(
            f"the proxy {proxy.name} promised a tunnel ({status}) and then sent something of its own: is it a login"
            " page of the network?"
        )
    return status, shown(match[2] or b"")


def _head(proxy: Proxy, raw: socket.socket, most_bytes: int) -> tuple[bytes, bool]:
    """Read an answer up to the end of its headers; return it, and True if more bytes wait unread in the kernel."""
    head = b""
    while True:
        _wait(raw, _READ)
        try:
            seen = raw.recv(_PEEK_BYTES, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            continue
        if not seen:
            raise ProxyError(
                f"the proxy {proxy.name} closed the connection before it had answered"
                + (f": {shown(head)!s}" if head else "")
            )
        end = _HEAD_END.search(head + seen)
        taken = len(seen) if end is None else end.end() - len(head)
        head += raw.recv(taken)
        if end is not None:
            return head, len(seen) > taken
        if not head.startswith(_BEGINNING[: len(head)]):
            raise _no_http(proxy, head)
        if len(head) > most_bytes:
            raise _endless(proxy)


def _endless(proxy: Proxy) -> ProxyError:
    return ProxyError(
        f"the proxy {proxy.name} answered with more than {ANSWER_MOST_BYTES // 1024} KB of headers"
    )


def _no_http(proxy: Proxy, head: bytes) -> ProxyError:
    return ProxyError(
        f"the proxy {proxy.name} answered with something that is not HTTP/1.1: '{shown(head)}';"
        f" check that {proxy.variable} names an HTTP proxy"
    )


def _refusal(proxy: Proxy, authority: str, status: int, reason: str) -> str:
    said = f"{status} {reason}".strip()
    # 407 means a missing or wrong login, but Tinyproxy answers a wrong one with 401.
    if status == 407 or (status == 401 and proxy.login is not None):
        if proxy.login is None:
            return (
                f"the proxy {proxy.name} wants a login ({said}): write it into {proxy.variable} as"
                f" http://NAME:PASSWORD@{proxy.name}"
            )
        return f"the proxy {proxy.name} does not accept the login in {proxy.variable} ({said})"
    if status in (401, 403, 405):
        return f"the proxy {proxy.name} does not allow connections to {authority} ({said})"
    if status >= 500:
        return f"the proxy {proxy.name} cannot connect to {authority} ({said})"
    return f"the proxy {proxy.name} refused to connect to {authority} ({said})"


def _send(raw: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[raw.send(data) :]
        except (BlockingIOError, InterruptedError):
            _wait(raw, _WRITE)


def _wait(raw: socket.socket, events: int) -> None:
    hub = gevent.get_hub()
    watcher = hub.loop.io(raw.fileno(), events)
    try:
        hub.wait(watcher)
    finally:
        watcher.close()
