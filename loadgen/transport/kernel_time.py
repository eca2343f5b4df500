"""Kernel receive timestamps (Linux SO_TIMESTAMPNS) of a TCP socket.

The kernel stamps each segment with CLOCK_REALTIME when it arrives. `recvmsg` returns the stamp of the last segment that
it read from, as a `struct timespec` in the control data (socket(7), SO_TIMESTAMPNS; Linux
Documentation/networking/timestamping.rst).
"""

import socket
import struct
import sys
from functools import cache

from loadgen.measure.clock import now_ns

# SO_TIMESTAMPNS_OLD of asm-generic/socket.h, with a 64-bit timespec on 64-bit systems; Python's socket module lacks it.
SO_TIMESTAMPNS = 35
#: Two native longs. They have 64 bits on the systems that `enable` accepts, and unpack several times as fast as the
#: standard-size format "=qq".
TIMESPEC = struct.Struct("ll")
#: True on 64-bit Linux, whose timespec this module reads.
_KNOWN = sys.platform.startswith("linux") and struct.calcsize("P") == 8
CONTROL_BYTES = socket.CMSG_SPACE(TIMESPEC.size)


def enable(sock: socket.socket) -> bool:
    """Enable the kernel's receive timestamps on a socket; return False if they are not available."""
    if not _KNOWN:
        return False
    try:
        if not _same_clock():
            return False
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True


@cache
def _same_clock() -> bool:
    """Return True if the kernel's timestamps and this process use the same clock. Under faketime they do not.

    To check, the process sends itself a datagram. Its stamp must lie between the times of sending and reading it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        probe.bind(("127.0.0.1", 0))
        probe.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        before_ns = now_ns()
        probe.sendto(b"?", probe.getsockname())
        _, control, _, _ = probe.recvmsg(1, CONTROL_BYTES)
        after_ns = now_ns()
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = TIMESPEC.unpack(data)
            return bool(before_ns <= seconds * 1_000_000_000 + nanoseconds <= after_ns)
    return False
