"""The error bound that AWS's ClockBound daemon publishes for this host's clock.

The daemon (github.com/aws/clock-bound) follows chrony and writes to shared memory how far CLOCK_REALTIME may be from
true time. The layout is documented: "ClockBound Shared Memory Protocol Version 2" (docs/PROTOCOL.md there). The PyPI
package `clockbound` reads it too; it needs Python 3.13, takes any file for the daemon's, and maps the file, so that a
file that is cut short ends the process (SIGBUS). So the 80 bytes are read here, with a plain `read`.

One check of the daemon's own client library is left out: the comparison with the VMClock (/dev/vmclock0), which shows
that a virtual machine was migrated before the daemon has noticed.
"""

import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Where the daemon writes by default.
DEFAULT_PATH: Final = Path("/var/run/clockbound/shm0")
#: Names another file than `DEFAULT_PATH`.
ENVIRONMENT: Final = "LOADGEN_CLOCKBOUND"

SYNCHRONIZED: Final = "synchronized"
FREE_RUNNING: Final = "free running"
UNKNOWN: Final = "unknown"
DISRUPTED: Final = "disrupted"
_STATUSES = {0: UNKNOWN, 1: SYNCHRONIZED, 2: FREE_RUNNING, 3: DISRUPTED}

#: Magic number (2), size, version, generation, as-of (s, ns), void-after (s, ns), bound, disruption marker, max drift,
#: status, disruption support; native byte order.
LAYOUT: Final = struct.Struct("=2I I H H 2q 2q q Q I i B 7x")
MAGIC: Final = (0x414D5A4E, 0x43420200)
VERSION: Final = 2

_SECOND_NS = 1_000_000_000
#: The client library's constants: how long a status holds without an update, and by how much the coarse clock of the
#: as-of time may be ahead.
_GRACE_NS = 5 * _SECOND_NS
_BLUR_NS = 1_000
_READS = 5


@dataclass(frozen=True, slots=True)
class Bound:
    """What the daemon says of the clock now."""

    #: True time is within this of the clock, in ns; None where the daemon does not vouch for it.
    error_ns: int | None
    #: `synchronized`, `free running` (not followed by chrony now; the bound grows and holds), `unknown`, `disrupted`.
    status: str


def bound(path: Path | None = None, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> Bound | None:
    """Return the bound that holds now, or None where there is no daemon of a version that is known; never raises.

    Takes some 10 µs. ``path`` None: `LOADGEN_CLOCKBOUND`, or the daemon's default.
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
        # Of another boot, or no bound at all.
        return Bound(None, UNKNOWN)
    if since_ns >= _GRACE_NS:
        if as_of_ns + since_ns >= void_ns:
            return Bound(None, UNKNOWN)
        named = FREE_RUNNING
    # Rounded up: it is a bound.
    grown_ns = -(-max(0, since_ns) * drift_ppb // _SECOND_NS)
    return Bound(bound_ns + grown_ns, named)


def error_ns() -> int | None:
    """Return the bound that holds now, or None where nobody vouches for the clock."""
    found = bound()
    return None if found is None else found.error_ns


def wider(one_ns: int | None, other_ns: int | None) -> int | None:
    """Return the larger of two bounds; None where one of them is unknown."""
    return None if one_ns is None or other_ns is None else max(one_ns, other_ns)


def _consistent(path: Path) -> tuple[int, ...] | None:
    """Return the fields of one update of the daemon's; None where there is no file, or none that can be read whole.

    The daemon makes the generation odd before it writes and even afterwards. Two reads in a row with the same even
    generation had no update between them.
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
