"""A WebSocket upgrade that was not granted: the error that says what was answered, and what it means."""

from collections.abc import Mapping

from websockets.exceptions import InvalidStatus

from loadgen.protocol import refusals
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError


def refused_upgrade(name: str, error: BaseException) -> TransportError:
    """Return the error for a handshake that the `websockets` library found to be refused; ``name`` is the address."""
    if not isinstance(error, InvalidStatus):
        return HandshakeRefusedError(f"{name} refused the WebSocket handshake: {error}")
    response = error.response
    # Looked up by names in lower case; of a name that stands there twice the first counts.
    headers: Mapping[str, str] = {
        key.lower(): value for key, value in reversed(list(response.headers.raw_items()))
    }
    said, refusal = refusals.of_answer(response.status_code, headers, response.body or b"")
    if refusal.again:
        return NotNowError(f"{name} does not accept the WebSocket handshake now: {said}", refusal)
    return HandshakeRefusedError(f"{name} refused the WebSocket handshake: {said}", refusal)
