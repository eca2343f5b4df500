"""The statistics of a network interface by which EC2 tells that an instance has used up its allowance.

Its driver (ENA) counts packets that were queued or dropped since the instance exceeded what its type allows. They come
by the ioctl that `ethtool -S` uses; the layouts are those of linux/ethtool.h. A container with a network namespace of
its own has another kind of interface, which does not have them.
"""

import array
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final

SUFFIX: Final = "_allowance_exceeded"
#: In the order of the record's columns.
ALLOWANCES: Final = ("bw_in", "bw_out", "pps", "conntrack", "linklocal")

_SIOCETHTOOL: Final = 0x8946
_GET_STRINGS, _GET_STATS, _GET_SET_INFO = 0x1B, 0x1D, 0x37
_SET_STATS: Final = 1
_NAME_BYTES: Final = 32
_INTERFACE_BYTES: Final = 16
#: More than any driver has: what claims to have more is not asked.
_MOST: Final = 65_536

#: Takes an interface and a command, which it answers in place; raises OSError.
Ask = Callable[[str, bytearray], None]


def names_in(answer: bytes | bytearray) -> list[str]:
    """Return the names in the answer to ETHTOOL_GSTRINGS, up to where it is cut off."""
    if len(answer) < 12:
        return []
    _, _, count = struct.unpack_from("=III", answer)
    whole = min(count, (len(answer) - 12) // _NAME_BYTES)
    pieces = (answer[12 + n * _NAME_BYTES : 12 + (n + 1) * _NAME_BYTES] for n in range(whole))
    return [piece.split(b"\0", 1)[0].decode("ascii", "replace") for piece in pieces]


def values_in(answer: bytes | bytearray) -> list[int]:
    """Return the values in the answer to ETHTOOL_GSTATS, up to where it is cut off."""
    if len(answer) < 8:
        return []
    _, count = struct.unpack_from("=II", answer)
    whole = min(count, (len(answer) - 8) // 8)
    return list(struct.unpack_from(f"={whole}Q", answer, 8))


def ioctl(interface: str, command: bytearray) -> None:
    """Have the kernel answer a command in place; raises OSError where it does not."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        buffer = array.array("B", command)
        address, _ = buffer.buffer_info()
        # struct ifreq: the name, and a union of which this is the pointer.
        request = struct.pack(f"{_INTERFACE_BYTES}sP16x", interface.encode()[: _INTERFACE_BYTES - 1], address)
        fcntl.ioctl(any_socket.fileno(), _SIOCETHTOOL, request)
        command[:] = buffer.tobytes()


def count_of_statistics(interface: str, ask: Ask = ioctl) -> int:
    """Return how many statistics an interface has; 0 where it does not tell."""
    command = bytearray(struct.pack("=IIQI", _GET_SET_INFO, 0, 1 << _SET_STATS, 0))
    try:
        ask(interface, command)
    except OSError:
        return 0
    _, _, mask, count = struct.unpack_from("=IIQI", command)
    return count if mask and 0 < count <= _MOST else 0


def statistics(interface: str, ask: Ask = ioctl) -> dict[str, int]:
    """Return the statistics of an interface by name; empty where it has none."""
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
    """Return those of `ALLOWANCES` that an interface's statistics have."""
    return {name: found[name + SUFFIX] for name in ALLOWANCES if name + SUFFIX in found}


def interfaces() -> list[str]:
    """Return the names of the interfaces of this network namespace but `lo`."""
    if sys.platform != "linux":
        return []
    try:
        return [name for _, name in socket.if_nameindex() if name != "lo"]
    except OSError:
        return []


def allowances(ask: Ask = ioctl, of: Callable[[], list[str]] = interfaces) -> dict[str, int] | None:
    """Return how often each allowance was exceeded, over all interfaces; None: no interface tells."""
    total: dict[str, int] = {}
    for interface in of():
        for name, count in allowances_of(statistics(interface, ask)).items():
            total[name] = total.get(name, 0) + count
    return total or None
