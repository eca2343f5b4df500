"""The receive path in C, where it could be built: optional, and never more than a shorter way to the same record.

- `poller.c` reads the sockets (transport).
- `fast_path.c` passes whole text frames from the poller to a connection's `FastPath`.
- `deliveries.c` has the one fast path: it reads deliveries that carry our stamp (protocol).
- `rows.c` buffers the deliveries.

A frame that the fast path does not know byte for byte goes through `loadgen.transport`, `loadgen.protocol` and
`loadgen.users`. That path is complete, and only it decides what is an error.

``available`` is false where the extension was not built (no Linux, no compiler) or ``LOADGEN_NATIVE=0`` is set; the
harness then does everything in Python, at about half the speed.
"""

import os
from typing import TYPE_CHECKING

available = False
if TYPE_CHECKING:
    from loadgen.native._native import DeliveryFastPath, FastPath, Poller, Rows, now_ns
elif os.environ.get("LOADGEN_NATIVE") != "0":
    try:
        from loadgen.native._native import DeliveryFastPath, FastPath, Poller, Rows, now_ns

        available = True
    except ImportError:
        pass
if not TYPE_CHECKING and not available:

    class _NotBuilt:
        """Stands for the types of the extension, of which there are no objects then."""

    DeliveryFastPath = FastPath = Poller = Rows = _NotBuilt

__all__ = ["DeliveryFastPath", "FastPath", "Poller", "Rows", "available", "now_ns"]
