"""Kernel receive timestamps (Linux SO_TIMESTAMPNS) of a TCP socket.

The kernel stamps each segment as it arrives, in CLOCK_REALTIME; `recvmsg` hands out the stamp of the last segment that
the read consumed, as a `struct timespec` in the control data (socket(7), SO_TIMESTAMPNS; Linux
Documentation/networking/timestamping.rst).
"""

import socket
import struct
import sys

# Python's socket module does not name it; asm-generic/socket.h: SO_TIMESTAMPNS_OLD, the 64-bit timespec on 64-bit.
SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("=qq")
CONTROL_BYTES = socket.CMSG_SPACE(TIMESPEC.size)


def enable(sock: socket.socket) -> bool:
    """Ask the kernel for receive timestamps; return whether it agreed."""
    if not sys.platform.startswith("linux") or struct.calcsize("P") != 8:
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    except OSError:
        return False
    return True
