"""Virtual cables with delay and packet loss: `python cable.py DELAY_MS LOSS HUB_NS=DEVICE,NODE_NS=DEVICE …`.

This replaces netem on kernels that lack it. Each end of a cable is a TUN device in a network namespace. A
packet that enters at one end leaves at the other after the delay, or is lost, depending on a seed. Prints
`ready` at the start.
"""

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import sys
import time
from pathlib import Path

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI, _CLONE_NEWNET = 0x400454CA, 0x0001, 0x1000, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def device(namespace: str, name: str) -> int:
    """Make a TUN device in a network namespace; return the descriptor that reads and writes its packets."""
    with Path("/run/netns", namespace).open() as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return tun


def main() -> None:
    delay_s, loss = float(sys.argv[1]) / 1e3, float(sys.argv[2])
    draw = random.Random(1).random
    other: dict[int, int] = {}
    for cable in sys.argv[3:]:
        ends = [device(*end.split("=")) for end in cable.split(",")]
        other |= {ends[0]: ends[1], ends[1]: ends[0]}
    selector = selectors.DefaultSelector()
    for tun in other:
        selector.register(tun, selectors.EVENT_READ)
    print("ready", flush=True)
    under_way: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        wait_s = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for key, _ in selector.select(wait_s):
            for _ in range(64):
                try:
                    packet = os.read(key.fd, 65536)
                except OSError:  # there are no more packets, or the device is down
                    break
                if draw() >= loss:
                    number += 1
                    heapq.heappush(under_way, (time.monotonic() + delay_s, number, other[key.fd], packet))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, tun, packet = heapq.heappop(under_way)
            try:
                os.write(tun, packet)
            except OSError:  # the device is down, because the cable was pulled
                continue


if __name__ == "__main__":
    main()
