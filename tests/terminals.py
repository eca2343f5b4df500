"""A pseudo-terminal for tests of terminal output."""

import fcntl
import os
import struct
import termios
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def shown(write: Callable[[int], object], columns: int = 80) -> str:
    """Return what ``write`` writes to a terminal; it is called with the terminal's file descriptor.

    The kernel passes a terminal's output on in the background and in pieces of any size. So the output is
    read until the terminal is closed.
    """
    screen, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with ThreadPoolExecutor(max_workers=1) as reading:
            said = reading.submit(_read_to_end, screen)
            try:
                write(terminal)
            finally:
                os.close(terminal)
            return said.result().decode().replace("\r\n", "\n")
    finally:
        os.close(screen)


def _read_to_end(screen: int) -> bytes:
    said = b""
    while True:
        try:
            said += os.read(screen, 65_536)
        except OSError:  # EIO: no process has the terminal open any more
            return said
