"""The contents of the extension module."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import Buffer

from loadgen.native import GivenUp, Priority, TlsSession
from loadgen.transport.polled_source import Source

def stop() -> None:
    """End the threads of all pollers: the process ends."""

def now_ns() -> int:
    """Return the current time of the clock that stamps reads (ns since the Unix epoch)."""

def stamped(
    token: int,
    publisher: int,
    sequences: Sequence[int],
    intended_ns: int,
    sent_ns: int,
    bodies: Sequence[tuple[str, str, int | None]],
    /,
) -> tuple[list[str], list[int]]:
    """Return the events of bodies (see `measure.stamp.Parts`) and their bytes as UTF-8."""

def masked(opcode: int, message: bytes, /) -> bytes:
    """Return the whole, masked WebSocket frame of a message (RFC 6455, 5.2)."""

def keep_stacks() -> None:
    """Keep the memory of ended greenlets' Python stacks for new greenlets, up to 4 MB, from now on."""

def kept_stacks() -> int:
    """Return how many stacks are kept and wait for a greenlet."""

def shorten_slice(slice_ns: int, /) -> int:
    """Set the time slice of this thread and of those that it starts later; return the slice that it has now, in ns.

    Linux allows 0.1 to 100 ms, and chooses the nearest of these. Returns 0 where nothing was changed: before Linux
    6.12, for a thread with real-time priority, or if the system forbids it. Raises ValueError if ``slice_ns`` is not
    positive.
    """

class Block(Buffer):
    """The memory of some rows, of a fixed size."""

class Rows:
    """A buffer of rows of int64, stored in blocks; the receive thread writes to it without the interpreter lock."""

    def __init__(self, columns: int, rows: int) -> None:
        """Make a buffer whose blocks hold ``rows`` rows each.

        Raises ValueError unless there are 1 to 64 columns and 1 to 16,777,216 rows.
        """

    @property
    def compared(self) -> int:
        """Number of events that fast paths did not parse, since another connection had received the same bytes."""

    def add(self, subscription: int, arrival_ns: int, read_ns: int, stamp: tuple[int, ...], /) -> None:
        """Append a row: the three numbers, the arrival's uncertainty, then the stamp.

        The fourth column is the `uncertain_ns` of an `Arrival`, or 0 if the arrival is a plain int. Raises
        OverflowError if a number does not fit into 64 bits, and TypeError if the row does not have as many numbers as
        there are columns.
        """

    def take(self) -> list[tuple[Block, int]]:
        """Return the buffers written since the last call, oldest first, each with the number of bytes in use."""

    def take_oldest(self) -> list[tuple[Block, int]]:
        """Return a list with the oldest full buffer, as `take` does, or an empty list if none is full."""

    def on_backpressure(self, most: int, relief: Callable[[], object], /) -> None:
        """Call ``relief`` for each buffer that fills while at least ``most`` are full.

        It is called after the read that filled the buffers, or from `Poller.process` if the receive thread filled them,
        and never recursively. It may run any Python code. An error
        that it raises is only printed.
        """

    def give_back(self, buffer: Block, /) -> None:
        """Return a taken buffer for reuse: rows may be written to it from now on.

        Raises ValueError if it is not a block of the right size, or was given back already.
        """

class PublishRows:
    """A buffer of publishes: a row for each run of events, and the size of each event."""

    def add(
        self,
        publisher: int,
        sequence: int,
        batch: int,
        channel: str,
        intended_ns: int,
        slot_ns: int | None,
        sent_ns: int | None,
        acked_ns: int | None,
        status: str,
        error: str | None,
        sizes: Sequence[int],
        connection_wait_ns: int | None,
        remote_address: str | None,
        cause_publisher: int | None,
        cause_sequence: int | None,
        cause_subscription: int | None,
        /,
    ) -> None:
        """Append events numbered from ``sequence`` on, one for each of ``sizes`` (bytes); on an error append nothing.

        Raises OverflowError if a number does not fit into 64 bits, and TypeError for a value of another type.
        """

    def take(self) -> tuple[bytes, bytes, list[str]]:
        """Remove and return what was appended: the rows and the sizes as int64, and the texts that rows refer to."""

    def take_accepted(self) -> int:
        """Return how many events of lanes were accepted since the last call."""

class PublishLane:
    """Sends the publishes of one WebSocket connection and keeps them until they are answered.

    `DeliveryFastPath.answers` lets a fast path take their answers, in any thread: an answer that accepts all events
    records them, and Python hears nothing of it.
    """

    def __init__(self, rows: PublishRows, token: int, publisher: int) -> None:
        """Make a lane whose publishes have the stamps of one publisher and are recorded in ``rows``."""

    def publish(
        self,
        descriptor: int,
        frame: tuple[bytes, bytes, bytes],
        number: int,
        first: int,
        channel: str,
        intended_ns: int,
        slot_ns: int,
        bodies: Sequence[Any],
        remote: str | None,
        cause: tuple[int, int, int] | None,
        owner: int,
        /,
    ) -> bytes | Literal[True] | None:
        """Stamp the bodies' events, and send the frame of their message through a socket without waiting.

        The message is the first part of ``frame``, the id `p` and the number, the second part, the events as JSON
        strings, and the third part. ``first`` is the number of the first event. The events have the current time as
        their sending time.

        Return True if the whole frame was sent, or else the rest of it, which the caller must send; all of it if the
        descriptor is negative. Return None, and do nothing, if a body's ``parts`` are None.

        Raises ValueError if a publish with this number awaits its answer, and what stamping raises; the publish is then
        not sent.
        """

    def withdraw(self, publish_id: str, /) -> GivenUp | None:
        """Give up the publish with this id, or return None if none with it awaits an answer."""

    def withdraw_all(self, owner: int = -1, /) -> list[GivenUp]:
        """Give up all publishes, or those of one owner, in the order of their numbers.

        Those of an owner stay known to ``in`` until they are withdrawn, so that a late answer is no unasked one.
        """

    def __len__(self) -> int:
        """Return how many publishes await their answers."""

    def __contains__(self, publish_id: str) -> bool:
        """Return True if a publish with this id was made and has had no answer."""

class FastPath:
    """Takes the messages that it recognises; the others are left to the Python path."""

    def take_frames(
        self,
        data: bytes | bytearray | memoryview,
        arrival_ns: int,
        read_ns: int,
        within_ns: int = 0,
        end_ns: int = 0,
        /,
    ) -> int:
        """Take whole messages from the beginning of the data until one is not recognised; return the bytes taken.

        The times mean the same as in `Source.take`.
        """

    def take_owed(self) -> bytes:
        """Return and forget what to send the service for what was taken, such as acknowledgements; often empty."""

class Lane(FastPath):
    """Takes messages of a protocol from a stream or from WebSocket frames.

    A frame is taken as a whole or left as a whole.
    """

    def add(self, name: str, number: int | None, /) -> None:
        """Take the messages of a subscription by the name that they have in them; ``number`` is their first column.

        With None they are left to the Python path. Raises ValueError if the name has more than 65,535 bytes.
        """

    def hold(self, held: bool, /) -> None:
        """Take nothing while ``held``: the session holds the beginning of a message."""

class PacketFastPath(Lane):
    """The fast path of one MQTT connection for PUBLISH packets with our stamp; names are topics.

    Packets of QoS 1 are acknowledged by `take_owed`. Those of QoS 2 are not taken.
    """

    def __init__(self, rows: Rows, tokens: tuple[str, ...], first: int = 0, properties: bool = True) -> None:
        """Make a fast path for a stream, or for frames whose ``first`` byte is 0x81 or 0x82.

        The stamp is at the end of ``tokens``. Without ``properties`` packets are of MQTT 3.1.1. Raises ValueError as
        `DeliveryFastPath` does.
        """

    def add_below(self, beginning: str, number: int | None, /) -> None:
        """Take the messages whose topics have this beginning, which ends in a slash, and no subscription of their own.

        Of several beginnings the longest counts. ``number`` is as with `add`.
        """

class Template:
    """A compiled description of deliveries; see `loadgen.protocol.generic.lanes`."""

    def __init__(self, messages: str, described: tuple[Any, ...]) -> None:
        """Compile a template for ``messages`` of the kind `text`, `lines` or `json`.

        A text or line is described by its parts in order: literal bytes, or the name of what is there. JSON is
        described by nested pairs ("object", members) and ("list", elements). Raises ValueError for anything else, and
        for more than 64 parts.
        """

class TemplateFastPath(Lane):
    """The fast path of one connection for deliveries that fit a template."""

    def __init__(
        self, rows: Rows, tokens: tuple[str, ...], template: Template, first: int, only: int | None = None
    ) -> None:
        """Make a fast path for WebSocket frames whose ``first`` byte is 0x81 or 0x82.

        With ``only`` all deliveries belong to the subscription of this number. Raises ValueError as `DeliveryFastPath`
        does.
        """

class DeliveryFastPath(FastPath):
    """The fast path of one connection for AppSync Events' deliveries that carry our stamp."""

    def __init__(self, rows: Rows, tokens: tuple[str, ...] = ("_lg",), checked: bool = False) -> None:
        """Make a fast path that writes to ``rows`` and finds the stamp at the end of ``tokens``, as a pointer does.

        With ``checked`` the stamp has a checksum. Events that differ from it are left to Python, as are those whose
        canonical text is uncertain.

        Raises ValueError unless the rows have 9 columns and there are 1 to 16 tokens without characters that JSON
        escapes, and UnicodeEncodeError if a token has a lone surrogate.
        """

    def add(self, subscription_id: str, number: int, /) -> None:
        """Take the deliveries of a subscription; ``number`` is written in their first column.

        Raises ValueError unless the id is 1 to 128 characters of printable ASCII without quotes and backslashes.
        """

    def answers(self, lane: PublishLane, /) -> None:
        """Take also the answers to publishes of a lane; see `PublishLane`.

        Raises ValueError if the fast path has a lane, or takes no deliveries of AppSync Events.
        """

    def clear(self) -> None:
        """Remove all subscriptions, so that no delivery is taken."""

class Poller:
    """Reads sockets when they are readable, with the kernel's receive timestamps, in a thread of its own.

    The thread needs no interpreter lock: it stamps what it reads and gives it to the fast paths, whatever Python is
    doing. The rest waits in a queue until `process` is called. The thread begins with the first socket, and ends with
    the poller or the interpreter.
    """

    def __init__(self, contain: Callable[[Source, BaseException], object], most_bytes: int = ...) -> None:
        """Make a poller; ``contain`` is called with a source that failed and the error, and must end that source.

        While ``most_bytes`` (64 MiB unless given) or more wait in the queue, no socket is read. Raises ValueError if
        it is less than 1.
        """

    def fileno(self) -> int:
        """Return a descriptor that is readable while there is something to process."""

    def priority(self) -> Priority | None:
        """Return how the system schedules the thread, or None if it has not begun."""

    def cpu_ns(self) -> int | None:
        """Return the CPU time of the thread (ns), or None if it has not begun or has ended."""

    def add(self, descriptor: int, source: Source, since_ns: int, /) -> None:
        """Read a socket from now on; data already in it must have arrived after ``since_ns``.

        Raises ValueError if the socket is closed or already added, or if the time is negative, OSError if the
        descriptor is not open, and RuntimeError in a forked process.
        """

    def remove(self, descriptor: int, /) -> int:
        """Stop reading a socket and return its current `since_ns`; call this before the socket is closed.

        When it returns, the thread does not read the socket. What waits of it in the queue is dropped. Raises KeyError
        if the poller does not read the socket.
        """

    def route(
        self,
        descriptor: int,
        whole: Callable[..., Any] | None,
        fast_path: FastPath | None,
        tls_write: Tls | Callable[[bytes], Any] | None = None,
        tls_read: Callable[[int, bytearray], int] | None = None,
        /,
    ) -> None:
        """Set who gets the data of a socket that is processed from now on.

        The fast path comes first. Then ``whole`` gets the text if exactly one whole text frame is left; any other
        remainder goes to the source's `take`. The thread uses the fast path as long as nothing of the socket waits in
        the queue.

        A `Tls` in place of ``tls_write`` decrypts from here on, in the thread, and all of the above get the plaintext.
        What nobody takes goes to the source's `take_plaintext`, which gets no bytes at the end of TLS. `tls_wrote` is
        called if TLS has something to send, and `tls_stopped` with the error if it has failed.

        ``tls_write`` and ``tls_read`` belong to a TLS object of Python's `ssl` module that is at a record boundary.
        With them `process` decrypts whole records, and the fast path gets the plaintext. The remainder goes to the
        source's `take_plaintext`, and an error that ``tls_read`` raises to `tls_stopped`.

        Raises ValueError if only one of the two is given, or if both are given with ``whole`` or without a fast path,
        or if a `Tls` that was set is not given again or has not done its handshake, and KeyError if the poller does
        not read the socket.
        """

    def waiting(self, descriptor: int, /) -> int:
        """Return how many reads of a socket wait in the queue; raises KeyError if the poller does not read it."""

    def process(self, most: int, /) -> None:
        """Process the reads in the queue, in their order, with the routing that is set when their turn comes.

        Stops after ``most`` reads or 50 ms, or when none is left. Raises RuntimeError if called from within itself.
        """

class TlsContext:
    """Settings of TLS connections; each verifies the server's certificate and name."""

    def __init__(
        self,
        error_of: Callable[[int, int, str | None, int, str | None, str], Exception],
        *,
        options: int,
        minimum: int,
        maximum: int,
        level: int,
        flags: int,
        host_flags: int,
        ciphers: str,
        suites: str,
        alpn: bytes,
        certificate: str | None,
        key: str | None,
    ) -> None:
        """Make a context that trusts the system's authorities.

        ``error_of`` makes the exceptions. The numbers are OpenSSL's: options, lowest and highest version (0 for no
        bound), security level, and flags of the verification of the certificate and of the name. ``ciphers`` are for
        TLS 1.2, ``suites`` for TLS 1.3, and ``alpn`` is a list as in RFC 7301, 3.1.

        Raises ValueError if OpenSSL refuses a setting, and RuntimeError before `load_tls`.
        """

class Tls:
    """The client's side of a TLS connection; it reads and sends nothing itself.

    The methods raise what `error_of` of the context returns.
    """

    #: True once the handshake is done.
    ready: bool

    def __init__(self, context: TlsContext, host: str, session: object = None) -> None:
        """Begin a connection to ``host``, a name in ASCII or an IP address; ``session`` is to be resumed.

        Raises ValueError if the host or the session cannot be used.
        """

    @property
    def resumed(self) -> bool:
        """True if the server has resumed the session."""

    def handshake(self, data: Buffer = b"", /) -> None:
        """Continue the handshake with the ciphertext of one read; sets `ready` when it is done."""

    def open(self, data: Buffer, /) -> tuple[bytes, bool, bool, Exception | None]:
        """Decrypt the ciphertext of one read.

        Returns (plaintext, True if the read ends with it, True if the server has ended TLS, error or None).
        """

    def encrypt(self, data: Buffer, /) -> bytes:
        """Return the ciphertext to send for ``data``, after what TLS itself has to send."""

    def end(self) -> None:
        """Write our close_notify, which `to_send` then returns."""

    def to_send(self) -> bytes:
        """Return the ciphertext that TLS itself has to send, such as a part of the handshake; usually empty."""

    def session(self) -> TlsSession | None:
        """Return the session if a later connection may resume it, else None."""

def load_tls(path: str | None, /) -> str | None:
    """Find OpenSSL's functions in a loaded library, or in what it is linked with; None for the program itself.

    Returns None, or why they cannot be used.
    """
