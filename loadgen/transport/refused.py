"""A WebSocket upgrade that was not granted: the error that says what was answered, and what it means."""

from collections.abc import Mapping

from websockets.exceptions import InvalidStatus

from loadgen.protocol import refusals
from loadgen.protocol.refusals import Refusal
from loadgen.transport import handshake
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError


def by_library(name: str, error: Exception) -> TransportError:
    """Return the error for a handshake that the `websockets` library found to be refused; ``name`` is the address."""
    if not isinstance(error, InvalidStatus):
        return HandshakeRefusedError(f"{name} {handshake.broken(error)}")
    response = error.response
    # Looked up by names in lower case; of a name that stands there twice the first counts.
    headers: Mapping[str, str] = {
        key.lower(): value for key, value in reversed(list(response.headers.raw_items()))
    }
    said, refusal = refusals.of_answer(response.status_code, headers, response.body or b"")
    location = headers.get("location", "").encode("utf-8", "surrogateescape")
    return _error(name, said + handshake.where(response.status_code, location), refusal)


def by_head(name: str, status: int | None, said: str) -> TransportError:
    """Return the error for a handshake of whose answer only the head came; ``said`` is what to say of it."""
    return _error(name, said, Refusal.of(status))


def _error(name: str, said: str, refusal: Refusal) -> TransportError:
    if refusal.again:
        return NotNowError(f"{name} does not accept the WebSocket handshake now: {said}", refusal)
    return HandshakeRefusedError(f"{name} refused the WebSocket handshake: {said}", refusal)
