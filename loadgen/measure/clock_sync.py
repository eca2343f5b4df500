"""Read from the kernel whether this machine's clock is synchronised (adjtimex(2))."""

import ctypes
import struct
from dataclasses import dataclass
from typing import Final

#: Size of `struct timex` (linux/timex.h) on 64-bit systems, and the byte offsets of `maxerror` (µs) and `status` in it.
_TIMEX_BYTES: Final = 208
_MAXERROR_AT: Final = 24
_STATUS_AT: Final = 40
_STA_UNSYNC: Final = 0x0040


@dataclass(frozen=True, slots=True)
class ClockSync:
    """The kernel's data about its clock."""

    synchronised: bool
    """True if a daemon (chrony, ntpd, systemd-timesyncd, a hypervisor's agent) has set the clock and says so."""
    max_error_ns: int
    """Largest error (ns) of the clock according to the daemon. It grows until the daemon corrects the clock again."""


def clock_sync() -> ClockSync | None:
    """Return the state of this machine's clock, or None if the system does not provide it."""
    if struct.calcsize("P") != 8:
        return None
    place = ctypes.create_string_buffer(_TIMEX_BYTES)
    try:
        if ctypes.CDLL(None).adjtimex(place) < 0:
            return None
    except (AttributeError, OSError):
        return None
    (max_error_us,) = struct.unpack_from("q", place, _MAXERROR_AT)
    (status,) = struct.unpack_from("i", place, _STATUS_AT)
    return ClockSync(not status & _STA_UNSYNC, max_error_us * 1_000)
