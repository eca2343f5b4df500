"""The opening handshake of one WebSocket (RFC 6455, section 4), until the server's answer is known."""

from collections.abc import Mapping, Sequence

from loadgen.transport import refused
from loadgen.transport.errors import HandshakeRefusedError, TransportError
from loadgen.transport.handshake import Answer
from loadgen.transport.library import Library
from loadgen.transport.upgrade import LastAccepted, Upgrade


class OpeningHandshake:
    """The request, and the answer as far as it has arrived; the caller sends and reads the bytes.

    An ordinary acceptance is recognised here. Any other answer is read by the `websockets` library, and its first bytes
    are kept here for error messages.
    """

    __slots__ = ("_answer", "_asked", "_name", "_upgrade")

    def __init__(
        self,
        name: str,
        url: str,
        subprotocols: Sequence[str],
        headers: Mapping[str, str],
        resource: str | None,
        last: LastAccepted,
    ) -> None:
        """Make a handshake that is yet to begin; ``name`` names the server in error messages.

        ``last`` is the accepting answer that an earlier connection to the server received.
        """
        self._name = name
        self._asked = (url, subprotocols, headers, resource, last)
        self._upgrade: Upgrade | None = None
        #: The first bytes of the server's answer, kept only if it is not an ordinary acceptance of the handshake.
        self._answer: Answer | None = None

    def request(self) -> bytes:
        """Return the request to send."""
        self._upgrade = Upgrade(*self._asked)
        return self._upgrade.request

    def accepted(self, data: bytes | memoryview) -> int:
        """Return the size of the ordinary accepting answer with which ``data`` begins, or 0 if there is none."""
        if self._upgrade is None or self._answer is not None:
            return 0
        # Copy the data, because a memoryview cannot be searched; there is only one answer per connection.
        return self._upgrade.accepted(bytes(data))

    def hand_over(self, data: bytes | memoryview, library: Library) -> TransportError | None:
        """Let `websockets` read the answer, starting with ``data``; return an error if the answer cannot be HTTP."""
        if self._upgrade is None:
            return None
        if self._answer is None:
            library.read_answer(self._upgrade.library(library.max_message_bytes))
            self._answer = Answer()
        self._answer.add(data)
        said = self._answer.no_http()
        return None if said is None else HandshakeRefusedError(f"{self._name} {said}")

    def begun(self) -> str | None:
        """Return the beginning of the answer for an error message, or None if nothing has arrived."""
        return None if self._answer is None else self._answer.begun()

    def refused(self) -> TransportError | None:
        """Return the error if the answer's head has arrived and refuses the upgrade, or None.

        Does not wait for the answer's body, which may never end.
        """
        head = None if self._answer is None else self._answer.refused()
        return None if head is None else refused.by_head(self._name, *head)

    def broken_off(self) -> TransportError | None:
        """Return the error for a connection that ended within the answer's bytes, or None if no byte had arrived."""
        if (error := self.refused()) is not None:
            return error
        said = None if self._answer is None else self._answer.broken_off()
        return None if said is None else TransportError(f"{self._name} {said}")
