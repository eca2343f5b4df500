"""Local source addresses for outgoing connections, used in turn.

From one source address, a machine can open only as many connections to one target address and port as the kernel's
`ip_local_port_range` has ports, 28,232 by default. A process that needs more connections than that needs more source
addresses.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Sequence
from itertools import cycle

#: Environment variable with the addresses of this machine to connect from, separated by commas.
VARIABLE = "LOADGEN_SOURCE_ADDRESSES"
#: Linux: choose the port at connect instead of bind, so that connections to different targets share ports (ip(7)).
_IP_BIND_ADDRESS_NO_PORT = 24


class SourceError(ValueError):
    """A source address cannot be used; the message is one sentence."""


class Sources:
    """Binds sockets to the given addresses in turn; without addresses the kernel chooses."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self.addresses = tuple(addresses)
        by_family: dict[int, list[str]] = {}
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            by_family.setdefault(family, []).append(address)
        self._next = {family: cycle(those) for family, those in by_family.items()}

    @classmethod
    def from_environment(cls) -> "Sources":
        """Return the sources that the environment variable lists.

        Raises:
            SourceError: an entry is not an IP address, or not one of this machine's.
        """
        written = [part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip()]
        for address in written:
            try:
                version = ipaddress.ip_address(address).version
            except ValueError:
                raise SourceError(
                    f"{VARIABLE} holds {address!a}, which is not an IP address: give addresses of this machine,"
                    " separated by commas"
                ) from None
            try:
                with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET) as probe:
                    probe.bind((address, 0))
            except OSError as error:
                why = os.strerror(error.errno or 0)
                raise SourceError(
                    f"{VARIABLE} holds {address}, from which this machine cannot connect ({why}): add it with"
                    f" `ip address add {address} dev …`, or leave it out"
                ) from None
        return cls(written)

    def bind(self, sock: socket.socket) -> None:
        """Bind a socket before it connects; raises OSError, also if no source is of the socket's address family."""
        if not self._next:
            return
        turn = self._next.get(sock.family)
        if turn is None:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((next(turn), 0))
