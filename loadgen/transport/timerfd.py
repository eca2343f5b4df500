"""A Linux timerfd: a descriptor that becomes readable at a set time, with ns resolution (timerfd_create(2)).

It is called through ctypes, since Python's `os` module has it only from 3.13 on.
"""

import ctypes
import os
import struct
import sys
import time
from typing import Final

_TFD_NONBLOCK: Final = 0o4000
_TFD_CLOEXEC: Final = 0o2000000
_TFD_TIMER_ABSTIME: Final = 1
_ITIMERSPEC = struct.Struct("=qqqq")
_SECOND_NS: Final = 1_000_000_000


def _libc() -> ctypes.CDLL:
    """Return the C library itself, not a preloaded faketime library, which would shift monotonic timers too."""
    try:
        return ctypes.CDLL("libc.so.6", use_errno=True)
    except OSError:
        return ctypes.CDLL(None, use_errno=True)


class TimerFd:
    """One timer on CLOCK_MONOTONIC; raises OSError if the system has no timerfd."""

    def __init__(self) -> None:
        if not sys.platform.startswith("linux"):
            raise OSError("no timerfd on this system")
        self._libc = _libc()
        self.descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def arm(self, at_ns: int) -> None:
        """Set the timer to ``at_ns`` on CLOCK_MONOTONIC (above zero), in place of any earlier setting."""
        setting = _ITIMERSPEC.pack(0, 0, at_ns // _SECOND_NS, at_ns % _SECOND_NS)
        if self._libc.timerfd_settime(self.descriptor, _TFD_TIMER_ABSTIME, setting, None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def acknowledge(self) -> bool:
        """Make the descriptor unreadable again; return False if it was not readable."""
        try:
            os.read(self.descriptor, 8)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)
