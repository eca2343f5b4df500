"""The receive path in C: optional, and faster than the Python path, which makes the same records.

A thread of each poller reads the sockets and needs no interpreter lock (GIL):

- `poller.c` is the Python type (transport), and `receiver.c` the thread's life, locks and sockets.
- `reading.c` is the thread's loop; `times.c` tells when the data of a read arrived.
- `fast_path.c` passes whole text frames from there to a connection's `FastPath`.
- `deliveries.c` is the only fast path so far: it parses deliveries that carry our stamp (protocol).
- `rows.c` buffers the deliveries.
- `queue.c` keeps what no fast path takes, and `processing.c` hands it to Python.

A frame that the fast path does not recognise byte for byte goes through `loadgen.transport`, `loadgen.protocol` and
`loadgen.users`. That path handles every frame, and it alone decides what is an error.

``available`` is false if the extension was not built (no Linux, no compiler) or ``LOADGEN_NATIVE=0`` is set. The
harness then does everything in Python, at about half the speed.
"""

import atexit
import os
from typing import TYPE_CHECKING, Literal

#: How the system schedules the receive thread.
Priority = Literal["normal", "real-time"]

available = False
if TYPE_CHECKING:
    from loadgen.native._native import Block, DeliveryFastPath, FastPath, Poller, Rows, now_ns
elif os.environ.get("LOADGEN_NATIVE") != "0":
    try:
        from loadgen.native._native import Block, DeliveryFastPath, FastPath, Poller, Rows, now_ns, stop

        available = True
        # Before the interpreter frees what the threads use.
        atexit.register(stop)
    except ImportError:
        pass
if not TYPE_CHECKING and not available:

    class _NotBuilt:
        """Placeholder for the extension's types, which are never instantiated if it is not built."""

    Block = DeliveryFastPath = FastPath = Poller = Rows = _NotBuilt

__all__ = ["Block", "DeliveryFastPath", "FastPath", "Poller", "Priority", "Rows", "available", "now_ns"]
