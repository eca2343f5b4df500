"""TLS of one connection over memory buffers, since the poller reads the raw socket."""

import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from loadgen import native
from loadgen.transport.native_tls import Data, NativeTls, OnPlaintext
from loadgen.transport.poller import TlsEnds
from loadgen.transport.records import RecordBoundary

_PLAINTEXT_BYTES = 64 * 1024
_PLAINTEXT = bytearray(_PLAINTEXT_BYTES)
_PLAINTEXT_VIEW = memoryview(_PLAINTEXT)

#: A TLS session to resume, by either of the two implementations of TLS: `Tls` or `NativeTls`.
Session = ssl.SSLSession | native.TlsSession

#: Age (s) from which the stored session is replaced by that of a connection that has resumed it. Servers keep sessions
#: for minutes to hours.
_SESSION_FRESH_S = 60.0


class TlsSessions:
    """The session that the connections to one address resume.

    The session comes from the last full handshake. When it is older than `_SESSION_FRESH_S`, the session of a
    connection that has resumed it takes its place. So TLS 1.3 tickets are used more than once; RFC 8446 (appendix C.4)
    advises against that only for the client's privacy.
    """

    __slots__ = ("_clock", "_kept_s", "resumed", "session")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept_s = 0.0
        #: The session to resume, or None before the first one is known.
        self.session: Session | None = None
        #: Number of connections that have resumed a session.
        self.resumed = 0

    def keep(self, tls: "Tls | NativeTls") -> None:
        """Keep the session of an open connection for later connections to resume.

        If the connection resumed the kept session, its new session replaces the kept one only if the kept one is older
        than `_SESSION_FRESH_S`.

        Call this after the first data of the server: TLS 1.3 sends the ticket after the handshake.
        """
        now_s, resumed = self._clock(), tls.resumed
        self.resumed += resumed
        if self.session is None or not resumed or now_s - self._kept_s >= _SESSION_FRESH_S:
            session = tls.session()
            if session is not None:
                self.session, self._kept_s = session, now_s


class Tls:
    """The client's side of TLS by Python's `ssl` module; the caller reads and sends the bytes.

    All methods may raise ssl.SSLError.
    """

    __slots__ = ("_incoming", "_inner", "_object", "_outgoing", "_records", "ready")

    def __init__(self, context: ssl.SSLContext, host: str, session: ssl.SSLSession | None = None) -> None:
        """Begin a connection to ``host``, and resume ``session`` if the server agrees."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._records = RecordBoundary()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)
        #: The C object to which an `ssl.SSLObject` delegates, or the SSLObject itself if it has no such attribute.
        #: Calling the C object at each read skips the Python methods in between.
        self._inner: Any = getattr(self._object, "_sslobj", self._object)
        #: True once the handshake is done.
        self.ready = False

    @property
    def resumed(self) -> bool:
        """True if the server has resumed the session."""
        return bool(self._object.session_reused)

    def session(self) -> ssl.SSLSession | None:
        """Return the session if a later connection may resume it, else None."""
        session = self._object.session
        return session if session is not None and (session.has_ticket or session.id) else None

    def handshake(self, data: Data = b"") -> None:
        """Continue the handshake with the ciphertext of one read; sets `ready` when it is done."""
        self._records.follow(data)
        self._incoming.write(data)
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.ready = True

    def decrypt(
        self,
        data: Data,
        on_plaintext: OnPlaintext,
        arrival_ns: int,
        read_ns: int,
        within_ns: int,
        end_ns: int,
    ) -> bool:
        """Decrypt the ciphertext of one read and pass it on; return False if the server has ended TLS.

        The times mean the same as in `polled_source.Source.take`.
        """
        incoming, inner = self._incoming, self._inner
        incoming.write(data)
        if not self._records.follow(data):
            # The read ends within a TLS record, which cannot be decrypted yet. So no message ends with the read's last
            # byte.
            end_ns = within_ns
        try:
            while True:
                # Decrypt into one buffer that all connections share: without it, read() would allocate 64 KB on each
                # call.
                size = inner.read(_PLAINTEXT_BYTES, _PLAINTEXT)
                if not size:
                    return False
                more = incoming.pending or inner.pending()
                on_plaintext(
                    _PLAINTEXT_VIEW[:size], arrival_ns, read_ns, within_ns, within_ns if more else end_ns
                )
                if not more:
                    # Do not read again: that would raise SSLWantReadError, which takes as long as the rest of this
                    # method.
                    return True
        except ssl.SSLWantReadError:
            return True

    def encrypt(self, data: bytes) -> bytes:
        """Return the ciphertext to send for ``data``."""
        self._object.write(data)
        return self._outgoing.read()

    def end(self) -> None:
        """Write our close_notify, which `to_send` then returns."""
        # `unwrap` raises an error, because the server's close_notify has not arrived yet.
        with suppress(ssl.SSLError):
            self._object.unwrap()

    def to_send(self) -> bytes:
        """Return the ciphertext that TLS itself produced, such as a part of the handshake; usually empty."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def is_between_records(self) -> bool:
        """Return True if no received bytes remain to be decrypted, so that the native poller may take over."""
        return self._records.reached and not self._incoming.pending and not self._inner.pending()

    def ends(self) -> TlsEnds:
        """Return the functions that the native poller decrypts with."""
        return self._incoming.write, self._inner.read
