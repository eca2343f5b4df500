"""Capture packets of a TCP port on loopback, to bound the time at which the kernel received each byte.

Linux stamps a packet of the loopback interface when it delivers it (`ip_local_deliver`). Packet sockets stamp
their own copies: a socket for all protocols does so before the delivery, and a socket for IP after it. So a
TCP socket's stamp lies between the two.
"""

import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from loadgen.transport import kernel_time

_ALL, _IP = 0x0003, 0x0800
_OUTGOING = 4
_TIME = struct.Struct("ll")
_SO_RCVBUFFORCE = 33
_SECOND_NS = 1_000_000_000
Ints = npt.NDArray[np.int64]


def may_capture() -> bool:
    """Return whether this process may open a packet socket (CAP_NET_RAW)."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_IP)).close()
    except (OSError, AttributeError):
        return False
    return True


class _Tap:
    """Records the TCP segments that a port sends.

    `_segments` maps each receiving port to its segments, as (time stamp, sequence number, length).
    """

    def __init__(self, port: int, protocol: int) -> None:
        self._port = port
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(protocol))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 * 2**20)
        self._socket.setsockopt(socket.SOL_SOCKET, kernel_time.SO_TIMESTAMPNS, 1)
        self._socket.bind(("lo", protocol))
        self._socket.settimeout(0.2)
        self._segments: dict[int, list[tuple[int, int, int]]] = {}
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            try:
                data, control, _, address = self._socket.recvmsg(128, kernel_time.CONTROL_BYTES)
            except TimeoutError:
                if self.stopping:
                    self._socket.close()
                    return
                continue
            # A packet on the loopback interface is captured twice: as it leaves, and as it arrives.
            if address[2] == _OUTGOING or data[0] >> 4 != 4 or data[9] != socket.IPPROTO_TCP:
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
        segments = self._segments[port]
        first = segments[0][1]
        stamps, edges, reached = [], [], 0
        for stamp_ns, sequence, length in segments:
            end = ((sequence - first) & 0xFFFFFFFF) + length
            if end > reached:
                reached = end
                stamps.append(stamp_ns)
                edges.append(end)
        found: Ints = np.array(stamps, dtype=np.int64)[
            np.searchsorted(np.array(edges, dtype=np.int64), ends, side="left")
        ]
        return found


def _wait_for_stamps() -> None:
    """Return once the kernel stamps packets as they arrive.

    The kernel begins to do so some time after a socket has asked for stamps (`netstamp_work` in net/core/dev.c). A
    packet that arrived before has no stamp, and gets the time at which it is read instead.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, kernel_time.SO_TIMESTAMPNS, 1)
        probe.bind(("127.0.0.1", 0))
        while True:
            probe.sendto(b"probe", probe.getsockname())
            sent_ns = time.time_ns()
            time.sleep(0.01)
            _, control, _, _ = probe.recvmsg(16, kernel_time.CONTROL_BYTES)
            seconds, nanoseconds = _TIME.unpack_from(control[0][2])
            if seconds * _SECOND_NS + nanoseconds <= sent_ns:
                return


class Capture:
    """Captures all that a port sends, from the first byte of each connection on."""

    def __init__(self, port: int) -> None:
        self._taps = (_Tap(port, _ALL), _Tap(port, _IP))
        _wait_for_stamps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for tap in self._taps:
            tap.stopping = True
        for tap in self._taps:
            tap.thread.join()

    def arrivals_ns(self, port: int, ends: Ints) -> tuple[Ints, Ints]:
        """Return lower and upper bounds of the arrival times of bytes that were sent to ``port``.

        ``ends`` are byte offsets in the stream; each stands for the last byte before it.
        """
        before, after = self._taps
        return before.arrivals_ns(port, ends), after.arrivals_ns(port, ends)
