"""Reads from a network interface how often an EC2 instance exceeded its network allowances.

EC2's network driver (ENA) counts the packets that were queued or dropped because the instance exceeded the limits of
its type. The counters are read with the ioctl that `ethtool -S` uses; the layouts are those of linux/ethtool.h. In a
container with a separate network namespace the interface is of another kind and lacks these counters.
"""

import array
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final

SUFFIX: Final = "_allowance_exceeded"
#: Names of EC2's network allowances, in the order of the record's columns.
ALLOWANCES: Final = ("bw_in", "bw_out", "pps", "conntrack", "linklocal")

_SIOCETHTOOL: Final = 0x8946
_GET_STRINGS, _GET_STATS, _GET_SET_INFO = 0x1B, 0x1D, 0x37
_SET_STATS: Final = 1
_NAME_BYTES: Final = 32
_INTERFACE_BYTES: Final = 16
#: More statistics than any driver has; an answer with a larger count is rejected.
_MOST: Final = 65_536

#: Takes an interface's name and the bytes of a command, and overwrites them with the answer; raises OSError.
Ask = Callable[[str, bytearray], None]


def names_in(answer: bytes | bytearray) -> list[str]:
    """Return the names in the answer to ETHTOOL_GSTRINGS, which may be truncated."""
    if len(answer) < 12:
        return []
    _, _, count = struct.unpack_from("=III", answer)
    whole = min(count, (len(answer) - 12) // _NAME_BYTES)
    pieces = (answer[12 + n * _NAME_BYTES : 12 + (n + 1) * _NAME_BYTES] for n in range(whole))
    return [piece.split(b"\0", 1)[0].decode("ascii", "replace") for piece in pieces]


def values_in(answer: bytes | bytearray) -> list[int]:
    """Return the values in the answer to ETHTOOL_GSTATS, which may be truncated."""
    if len(answer) < 8:
        return []
    _, count = struct.unpack_from("=II", answer)
    whole = min(count, (len(answer) - 8) // 8)
    return list(struct.unpack_from(f"={whole}Q", answer, 8))


def ioctl(interface: str, command: bytearray) -> None:
    """Send a command to the kernel, which writes its answer into ``command``; raises OSError if it fails."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        buffer = array.array("B", command)
        address, _ = buffer.buffer_info()
        # struct ifreq: the name, and a union that here holds the pointer.
        request = struct.pack(f"{_INTERFACE_BYTES}sP16x", interface.encode()[: _INTERFACE_BYTES - 1], address)
        fcntl.ioctl(any_socket.fileno(), _SIOCETHTOOL, request)
        command[:] = buffer.tobytes()


def count_of_statistics(interface: str, ask: Ask = ioctl) -> int:
    """Return how many statistics an interface has, or 0 if unknown."""
    command = bytearray(struct.pack("=IIQI", _GET_SET_INFO, 0, 1 << _SET_STATS, 0))
    try:
        ask(interface, command)
    except OSError:
        return 0
    _, _, mask, count = struct.unpack_from("=IIQI", command)
    return count if mask and 0 < count <= _MOST else 0


def statistics(interface: str, ask: Ask = ioctl) -> dict[str, int]:
    """Return the statistics of an interface by name, or an empty dict if it has none."""
    count = count_of_statistics(interface, ask)
    if not count:
        return {}
    names = bytearray(struct.pack("=III", _GET_STRINGS, _SET_STATS, count) + bytes(count * _NAME_BYTES))
    values = bytearray(struct.pack("=II", _GET_STATS, count) + bytes(count * 8))
    try:
        ask(interface, names)
        ask(interface, values)
    except OSError:
        return {}
    return dict(zip(names_in(names), values_in(values), strict=False))


def allowances_of(found: Mapping[str, int]) -> dict[str, int]:
    """Return the counters of `ALLOWANCES` found in an interface's statistics."""
    return {name: found[name + SUFFIX] for name in ALLOWANCES if name + SUFFIX in found}


def interfaces() -> list[str]:
    """Return the names of this network namespace's interfaces, except `lo`."""
    if sys.platform != "linux":
        return []
    try:
        return [name for _, name in socket.if_nameindex() if name != "lo"]
    except OSError:
        return []


def allowances(ask: Ask = ioctl, of: Callable[[], list[str]] = interfaces) -> dict[str, int] | None:
    """Return the counter of each allowance, summed over all interfaces, or None if no interface has any."""
    total: dict[str, int] = {}
    for interface in of():
        for name, count in allowances_of(statistics(interface, ask)).items():
            total[name] = total.get(name, 0) + count
    return total or None
