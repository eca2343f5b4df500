"""Compute how many connections this machine has local ports for, and define the error for running out of them.

Linux chooses a connection's local port from `ip_local_port_range`, except ports in `ip_local_reserved_ports` and bound
ports. Connections that differ in source address, target address or target port can share a local port: ip(7), tcp(7).
"""

import ipaddress
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loadgen.transport.resolving import DialingError

#: States in /proc/net/tcp (include/net/tcp_states.h).
_TIME_WAIT: Final = 6
_LISTEN: Final = 10

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class LocalAddressError(DialingError):
    """This machine has no local port or source address left to connect from; the target has not failed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"no connection to {name} could be begun: this machine has no local port or source address left for it"
            " (ip_local_port_range, LOADGEN_SOURCE_ADDRESSES)",
        )


@dataclass(frozen=True, slots=True)
class PortRange:
    """The range of local ports that the kernel chooses from."""

    low: int
    high: int
    reserved: frozenset[int]

    def __contains__(self, port: int) -> bool:
        """Return True if the kernel may choose this port for a connection."""
        return self.low <= port <= self.high and port not in self.reserved

    @property
    def count(self) -> int:
        """Number of ports in the range that are not reserved."""
        return self.high - self.low + 1 - sum(self.low <= port <= self.high for port in self.reserved)


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """One line of /proc/net/tcp or tcp6."""

    local: IpAddress
    port: int
    remote: IpAddress
    remote_port: int
    state: int


def port_range(proc: Path = Path("/proc")) -> PortRange | None:
    """Return the system's range, or None if ``proc`` does not have it (not Linux)."""
    folder = proc / "sys/net/ipv4"
    try:
        low, high = map(int, (folder / "ip_local_port_range").read_text().split())
        reserved = frozenset(_ports((folder / "ip_local_reserved_ports").read_text()))
    except (OSError, ValueError):
        return None
    return PortRange(low, high, reserved)


def open_sockets(proc: Path = Path("/proc")) -> Iterator[TcpSocket]:
    """Yield the TCP sockets of this network namespace, or nothing if ``proc`` does not list them (not Linux)."""
    for name in ("tcp", "tcp6"):
        try:
            with (proc / "net" / name).open() as lines:
                next(lines, None)
                for line in lines:
                    parts = line.split(maxsplit=4)
                    local, port = _place(parts[1])
                    remote, remote_port = _place(parts[2])
                    yield TcpSocket(local, port, remote, remote_port, int(parts[3], 16))
        except (OSError, ValueError, IndexError):
            continue


def room(
    destinations: Sequence[tuple[str, int]],
    sources: Sequence[str],
    ports: PortRange,
    in_use: Iterable[TcpSocket],
) -> int:
    """Return how many more connections this machine can open to all ``destinations`` together.

    Destinations are pairs of IP address and port. ``sources`` are the source addresses to connect from; if it is empty,
    the kernel uses one source address for each destination. A port is not available if a socket listens on it, or if a
    connection to the same destination uses it, even one in TIME_WAIT.
    """
    wanted = {(_ip(host), port) for host, port in destinations}
    bound: set[int] = set()
    taken: set[tuple[IpAddress, int, IpAddress, int]] = set()
    for sock in in_use:
        if sock.port not in ports:
            continue
        remote = _plain(sock.remote)
        if sock.state == _LISTEN:
            bound.add(sock.port)
        # Ports in TIME_WAIT count as free on loopback, where Linux reuses them (the default of tcp_tw_reuse, 2).
        elif (remote, sock.remote_port) in wanted and not (sock.state == _TIME_WAIT and remote.is_loopback):
            taken.add((_plain(sock.local), sock.port, remote, sock.remote_port))
    froms = [_ip(source) for source in sources]
    found = 0
    for host, port in wanted:
        own = [source for source in froms if source.version == host.version]
        sets = [{each for each in taken if each[0] == source and each[2:] == (host, port)} for source in own]
        if not froms:
            sets = [{each for each in taken if each[2:] == (host, port)}]
        for each in sets:
            found += max(0, ports.count - len(bound | {local for _, local, _, _ in each}))
    return found


def _ports(text: str) -> Iterator[int]:
    """Yield the ports of a list such as `8080,9000-9010`."""
    for part in text.split(","):
        low, _, high = part.strip().partition("-")
        if low:
            yield from range(int(low), int(high or low) + 1)


def _place(written: str) -> tuple[IpAddress, int]:
    """Parse an address and port such as `0100007F:1F90`, whose 32-bit words are in the machine's byte order."""
    address, _, port = written.partition(":")
    words = [int(address[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(address), 8)]
    return _plain(ipaddress.ip_address(b"".join(words))), int(port, 16)


def _ip(host: str) -> IpAddress:
    return _plain(ipaddress.ip_address(host.partition("%")[0]))


def _plain(address: IpAddress) -> IpAddress:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
