"""Test the windows of local ports: with a kernel played in memory, and with real sockets."""

import errno
import socket
import sys
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport.local_ports import port_range
from loadgen.transport.port_windows import PortWindows

LOW, HIGH = 40_000, 40_299
ADDRESS = ("127.0.0.1", 80)


class Kernel:
    """A socket on a machine with the given ports taken; it chooses the first free port of its window."""

    def __init__(self, taken: set[int], *, knows: bool = True) -> None:
        self.taken, self.knows = taken, knows
        self.windows: list[tuple[int, int]] = []
        self.window = (LOW, HIGH)
        self.connects = 0

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.IPPROTO_IP, 51)
        if not self.knows:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        bounds = int.from_bytes(value, sys.byteorder)
        self.window = (bounds & 0xFFFF or LOW, bounds >> 16 or HIGH)
        if bounds:
            self.windows.append(self.window)

    def connect_ex(self, address: object) -> int:
        assert address == ADDRESS
        self.connects += 1
        for port in range(self.window[0], self.window[1] + 1):
            if port not in self.taken:
                self.taken.add(port)
                return errno.EINPROGRESS
        return errno.EADDRNOTAVAIL


@given(st.sets(st.integers(LOW, HIGH)), st.integers(1, 40))
def test_a_free_port_is_found_if_there_is_one(taken: set[int], connects: int) -> None:
    windows = PortWindows(LOW, HIGH)
    for _ in range(connects):
        free = HIGH - LOW + 1 - len(taken)
        kernel = Kernel(taken)
        code = windows.connect(kernel, ADDRESS)
        assert code == (errno.EINPROGRESS if free else errno.EADDRNOTAVAIL)
        for low, high in kernel.windows:
            assert LOW <= low < high <= HIGH
        # Windows of 8, 16, 32 … ports, and at last the whole range: a full machine costs few calls.
        assert kernel.connects <= 8


def test_an_empty_machine_needs_one_short_window_a_connect() -> None:
    windows, taken = PortWindows(LOW, HIGH), set[int]()
    for _ in range(30):
        kernel = Kernel(taken)
        assert windows.connect(kernel, ADDRESS) == errno.EINPROGRESS
        assert kernel.connects == 1
        assert kernel.windows[0][1] - kernel.windows[0][0] < 8


def test_the_windows_reach_every_port_of_the_range() -> None:
    windows, taken = PortWindows(LOW, HIGH), set[int]()
    for _ in range(HIGH - LOW + 1):
        assert windows.connect(Kernel(taken), ADDRESS) == errno.EINPROGRESS
    assert taken == set(range(LOW, HIGH + 1))
    assert windows.connect(Kernel(taken), ADDRESS) == errno.EADDRNOTAVAIL


def test_another_error_is_not_a_taken_port() -> None:
    class Refusing(Kernel):
        def connect_ex(self, address: object) -> int:
            self.connects += 1
            return errno.ENETUNREACH

    kernel = Refusing(set())
    assert PortWindows(LOW, HIGH).connect(kernel, ADDRESS) == errno.ENETUNREACH
    assert kernel.connects == 1


def test_a_kernel_without_the_option_chooses_from_the_whole_range() -> None:
    windows, taken = PortWindows(LOW, HIGH), set[int]()
    for _ in range(3):
        kernel = Kernel(taken, knows=False)
        assert windows.connect(kernel, ADDRESS) == errno.EINPROGRESS
        assert (kernel.connects, kernel.windows) == (1, [])


def test_a_system_without_a_range_connects_without_windows() -> None:
    kernel = Kernel(set())
    assert PortWindows().connect(kernel, ADDRESS) == errno.EINPROGRESS
    assert (kernel.connects, kernel.windows) == (1, [])


def test_real_sockets_connect_from_the_windows() -> None:
    ports = port_range()
    if ports is None:
        pytest.skip("this system tells no range of local ports")
    low = ports.low + (ports.high - ports.low) // 2
    windows = PortWindows(low, low + 199)
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:
        chosen = []
        for _ in range(4):
            client = opened.enter_context(socket.socket())
            assert windows.connect(client, listener.getsockname()) == 0
            chosen.append(client.getsockname()[1])
            try:
                client.getsockopt(socket.IPPROTO_IP, 51)
            except OSError:
                pytest.skip("this kernel has no IP_LOCAL_PORT_RANGE")
    assert len(set(chosen)) == 4
    assert all(low <= port < low + 200 for port in chosen)
