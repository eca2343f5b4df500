"""The receive path in C, where it could be built: optional, and never more than a shorter way to the same record.

Its parts, one a file: `rows.c` is the buffer of deliveries, `poller.c` reads the sockets (transport), `deliveries.c`
knows a delivery that carries our stamp (protocol), and `lane.c` is the seam between these two: the poller gives whole
text frames to a connection's `Lane`, and the one lane there is writes rows. Whatever a lane does not know to the byte
goes the way through `loadgen.transport`, `loadgen.protocol` and `loadgen.users`, which stays complete and decides
alone what is an error.

``available`` is false where the extension was not built (no Linux, no compiler) or ``LOADGEN_NATIVE=0`` is set; the
harness then does everything in Python, at about half the speed.
"""

import os
from typing import TYPE_CHECKING

available = False
if TYPE_CHECKING:
    from loadgen.native._native import DeliveryLane, Lane, Poller, Rows, now_ns
elif os.environ.get("LOADGEN_NATIVE") != "0":
    try:
        from loadgen.native._native import DeliveryLane, Lane, Poller, Rows, now_ns

        available = True
    except ImportError:
        pass
if not TYPE_CHECKING and not available:

    class _NotBuilt:
        """Stands for the types of the extension, of which there are no objects then."""

    DeliveryLane = Lane = Poller = Rows = _NotBuilt

__all__ = ["DeliveryLane", "Lane", "Poller", "Rows", "available", "now_ns"]
