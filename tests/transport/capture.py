"""A packet capture of a TCP port on the loopback interface: when the kernel had each byte of a stream."""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from loadgen.transport import kernel_time

_ETH_P_IP = 0x0800
_OUTGOING = 4
_TIME = struct.Struct("ll")
_SO_RCVBUFFORCE = 33
_SECOND_NS = 1_000_000_000
Ints = npt.NDArray[np.int64]


def may_capture() -> bool:
    """Whether this process may open a packet socket (CAP_NET_RAW)."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP)).close()
    except (OSError, AttributeError):
        return False
    return True


class Capture:
    """Records (stamp, receiver's port, sequence number, length) of each segment that one port sends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 * 2**20)
        self._socket.setsockopt(socket.SOL_SOCKET, kernel_time.SO_TIMESTAMPNS, 1)
        self._socket.bind(("lo", _ETH_P_IP))
        self._socket.settimeout(0.2)
        self._segments: dict[int, list[tuple[int, int, int]]] = {}
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                data, control, _, address = self._socket.recvmsg(128, kernel_time.CONTROL_BYTES)
            except TimeoutError:
                if self._stopping:
                    return
                continue
            # Each packet is seen as it leaves and as it arrives.
            if address[2] == _OUTGOING or data[9] != socket.IPPROTO_TCP:
                continue
            head = (data[0] & 15) * 4
            source, target, sequence = struct.unpack_from("!HHI", data, head)
            if source != self._port:
                continue
            (size,) = struct.unpack_from("!H", data, 2)
            length = size - head - (data[head + 12] >> 4) * 4
            if length > 0:
                seconds, nanoseconds = _TIME.unpack_from(control[0][2])
                stamp_ns = seconds * _SECOND_NS + nanoseconds
                self._segments.setdefault(target, []).append((stamp_ns, sequence, length))

    def arrivals_ns(self, port: int, ends: Ints) -> Ints:
        """Return when the segment arrived that held the last byte before each place in the stream to a port."""
        segments = self._segments[port]
        first = segments[0][1]
        stamps, edges, reached = [], [], 0
        for stamp_ns, sequence, length in segments:
            end = ((sequence - first) & 0xFFFFFFFF) + length
            if end > reached:
                reached = end
                stamps.append(stamp_ns)
                edges.append(end)
        place = np.searchsorted(np.array(edges, dtype=np.int64), ends, side="left")
        found: Ints = np.array(stamps, dtype=np.int64)[place]
        return found
