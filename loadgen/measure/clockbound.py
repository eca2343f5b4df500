"""The error bound that AWS's ClockBound daemon publishes for this host's clock.

The daemon (github.com/aws/clock-bound) follows chrony and writes to shared memory how far CLOCK_REALTIME may be from
true time. The layout is documented in "ClockBound Shared Memory Protocol Version 2" (docs/PROTOCOL.md in that
repository).

This module reads the 80 bytes itself, with a plain `pread`. The PyPI package `clockbound` reads them too, but it needs
Python 3.13, does not check that the file is the daemon's, and maps the file, so that a truncated file kills the process
(SIGBUS).

The daemon's own client library also checks the VMClock (/dev/vmclock0), which shows that a virtual machine was migrated
even before the daemon notices it. This module leaves that check out.
"""

import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: The file that the daemon writes by default.
DEFAULT_PATH: Final = Path("/var/run/clockbound/shm0")
#: Environment variable that replaces `DEFAULT_PATH`.
ENVIRONMENT: Final = "LOADGEN_CLOCKBOUND"

SYNCHRONIZED: Final = "synchronized"
FREE_RUNNING: Final = "free running"
UNKNOWN: Final = "unknown"
DISRUPTED: Final = "disrupted"
_STATUSES = {0: UNKNOWN, 1: SYNCHRONIZED, 2: FREE_RUNNING, 3: DISRUPTED}

#: Fields in native byte order: magic number (2), size, version, generation, as-of (s, ns), void-after (s, ns), bound,
#: disruption marker, max drift, status, disruption support.
LAYOUT: Final = struct.Struct("=2I I H H 2q 2q q Q I i B 7x")
MAGIC: Final = (0x414D5A4E, 0x43420200)
VERSION: Final = 2

_SECOND_NS = 1_000_000_000
#: Constants of ClockBound's client library. `_GRACE_NS` is how long a status stays valid without an update. `_BLUR_NS`
#: is how far the as-of time may lie in the future, since it comes from a coarse clock.
_GRACE_NS = 5 * _SECOND_NS
_BLUR_NS = 1_000
_READS = 5


@dataclass(frozen=True, slots=True)
class Bound:
    """The clock's current error bound and status, according to the daemon."""

    #: Largest difference between the clock and true time, in ns; None if the daemon guarantees nothing.
    error_ns: int | None
    #: `synchronized`, `free running` (chrony does not follow a source now; the bound grows and still holds), `unknown`
    #: or `disrupted`.
    status: str


def bound(path: Path | None = None, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> Bound | None:
    """Return the current bound, or None if no daemon of a known version runs; never raises.

    Takes some 10 µs. ``path`` defaults to the value of `LOADGEN_CLOCKBOUND`, then to `DEFAULT_PATH`.
    """
    segment = _consistent(path or Path(os.environ.get(ENVIRONMENT) or DEFAULT_PATH))
    if segment is None:
        return None
    (
        *magic, size, version, generation,
        as_of_s, as_of_ns, void_s, void_ns, bound_ns, _marker, drift_ppb, status, _support,
    ) = segment  # fmt: skip
    if (*magic,) != MAGIC or version != VERSION or not generation or size < LAYOUT.size:
        return None
    named = _STATUSES.get(status, UNKNOWN)
    if named in (UNKNOWN, DISRUPTED):
        return Bound(None, named)
    as_of_ns += as_of_s * _SECOND_NS
    void_ns += void_s * _SECOND_NS
    since_ns = monotonic_ns() - as_of_ns
    if since_ns < -_BLUR_NS or bound_ns < 0 or drift_ppb >= _SECOND_NS:
        # The file is from before the last boot, or contains no usable bound.
        return Bound(None, UNKNOWN)
    if since_ns >= _GRACE_NS:
        if as_of_ns + since_ns >= void_ns:
            return Bound(None, UNKNOWN)
        named = FREE_RUNNING
    # Round up: a bound must not be too small.
    grown_ns = -(-max(0, since_ns) * drift_ppb // _SECOND_NS)
    return Bound(bound_ns + grown_ns, named)


def error_ns() -> int | None:
    """Return the clock's current error bound in ns, or None if it is unknown."""
    found = bound()
    return None if found is None else found.error_ns


def wider(one_ns: int | None, other_ns: int | None) -> int | None:
    """Return the larger of two bounds, or None if either is unknown."""
    return None if one_ns is None or other_ns is None else max(one_ns, other_ns)


def _consistent(path: Path) -> tuple[int, ...] | None:
    """Return the fields of one complete update, or None if the file is missing, too short or changes in every read.

    The daemon makes the generation odd before it writes and even afterwards, so two equal reads in a row with an even
    generation saw no update in progress.
    """
    before = None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        for _ in range(_READS):
            data = os.pread(descriptor, LAYOUT.size, 0)
            if len(data) < LAYOUT.size:
                return None
            fields = LAYOUT.unpack(data)
            if fields == before and fields[4] % 2 == 0:
                return fields
            before = fields
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None
