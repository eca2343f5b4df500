"""The hot paths in C: optional, and faster than the Python paths, which make the same records.

Each poller has a thread that reads the sockets and needs no interpreter lock (GIL). The names in brackets are the
Python packages that a file belongs to:

- `poller.c` is the Python type (transport); `receiver.c` starts and stops the thread, and has its locks and sockets.
- `reading.c` is the thread's loop; `times.c` tells when the data of a read arrived.
- `fast_path.c` passes whole text frames from the thread to a connection's `FastPath`.
- `deliveries.c` is the fast path of AppSync Events (protocol).
- `lane.c` is the common part of the fast paths of other protocols, which take units from a stream or from frames:
  MQTT packets (`mqtt_packets.c`), and messages that match the template of a protocol file (`template.c`,
  `template_lane.c`). `names.c` finds their subscriptions, and `owed.c` keeps the acknowledgements that Python is to
  send.
- `json_path.c` describes where in an event's JSON the stamp is.
- `json_scan.c` finds the stamp in JSON and validates all the rest; `json_canonical.c` computes an event's checksum.
- `rows.c` buffers the deliveries.
- `tls.c` decrypts in the thread and encrypts for Python, `tls_context.c` has the settings, and `tls_library.c` finds
  OpenSSL's functions (transport).
- `queue.c` queues the data that no fast path takes, and `processing.c` passes it to Python.

Publishing:

- `publishes.c` buffers the publishes (measure).
- `sending.c` stamps the events of a publish (payloads) and masks its frame (transport).
- `publish_lane.c` does both at once for a WebSocket, sends the frame, and keeps the publish until its answer;
  `publish_message.c` builds the message.
- `answers.c` handles an answer by which the service accepts all events of such a publish (protocol).

- `stacks.c` keeps the memory of Python stacks for the next greenlets.
- `slice.c` shortens a thread's time slice.

A frame that is not certainly a valid delivery with a stamp goes through `loadgen.transport`, `loadgen.protocol` and
`loadgen.users`. That path handles every frame, and it alone decides what is an error.

``available`` is false if the extension was not built (no Linux, no compiler) or ``LOADGEN_NATIVE=0`` is set. The
harness then does everything in Python, at about half the speed.
"""

import atexit
import os
from typing import TYPE_CHECKING, Final, Literal, NewType

#: How the system schedules the receive thread.
Priority = Literal["normal", "real-time"]
#: A publish that C code gives back to Python without an answer: its number, its sender's number (see `users.direct`),
#: the first event's number, channel, intended_ns, slot_ns, sent_ns, the sizes of its events, remote address, and, if it
#: is a reply, the delivery that caused it.
GivenUp = tuple[int, int, int, str, int, int, int, list[int], str | None, tuple[int, int, int] | None]
#: A TLS session to resume; its content is opaque.
TlsSession = NewType("TlsSession", object)

#: Kind of frames that C code reads, as the first byte of such a frame (RFC 6455, 5.2); 0 if the stream has no frames.
NO_FRAMES: Final = 0
TEXT_FRAMES: Final = 0x81
BINARY_FRAMES: Final = 0x82

available = False
if TYPE_CHECKING or os.environ.get("LOADGEN_NATIVE") != "0":
    try:
        from loadgen.native._native import (
            Block,
            DeliveryFastPath,
            FastPath,
            Lane,
            PacketFastPath,
            Poller,
            PublishLane,
            PublishRows,
            Rows,
            Template,
            TemplateFastPath,
            Tls,
            TlsContext,
            keep_stacks,
            kept_stacks,
            load_tls,
            masked,
            now_ns,
            shorten_slice,
            stamped,
            stop,
        )

        available = True
        # Stop the receive threads before the interpreter frees the memory that they use.
        atexit.register(stop)
    except ImportError:
        pass
if not TYPE_CHECKING and not available:

    class _NotBuilt:
        """Stands for each type of the extension if the extension is not built; it is never instantiated."""

    Block = DeliveryFastPath = FastPath = Lane = PacketFastPath = Poller = PublishRows = Rows = _NotBuilt
    PublishLane = Template = TemplateFastPath = Tls = TlsContext = _NotBuilt

__all__ = [
    "BINARY_FRAMES",
    "Block",
    "DeliveryFastPath",
    "FastPath",
    "GivenUp",
    "Lane",
    "NO_FRAMES",
    "PacketFastPath",
    "Poller",
    "Priority",
    "PublishLane",
    "PublishRows",
    "Rows",
    "TEXT_FRAMES",
    "Template",
    "TemplateFastPath",
    "Tls",
    "TlsContext",
    "TlsSession",
    "available",
    "keep_stacks",
    "kept_stacks",
    "load_tls",
    "masked",
    "now_ns",
    "shorten_slice",
    "stamped",
]
