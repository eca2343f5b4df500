"""Make the error for a refused WebSocket upgrade: the server's answer and its meaning."""

from collections.abc import Mapping

from websockets.exceptions import InvalidStatus

from loadgen.protocol import refusals
from loadgen.protocol.refusals import Refusal
from loadgen.transport import handshake
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError


def by_library(name: str, error: Exception) -> TransportError:
    """Return the error for a handshake that the `websockets` library rejected; ``name`` is the server's address."""
    if not isinstance(error, InvalidStatus):
        return HandshakeRefusedError(f"{name} {handshake.broken(error)}")
    response = error.response
    # Build the dictionary in reverse order, so that the first of several headers of the same name counts.
    headers: Mapping[str, str] = {
        key.lower(): value for key, value in reversed(list(response.headers.raw_items()))
    }
    said, refusal = refusals.of_answer(response.status_code, headers, response.body or b"")
    location = headers.get("location", "").encode("utf-8", "surrogateescape")
    return _error(name, said + handshake.where(response.status_code, location), refusal)


def by_head(name: str, status: int | None, said: str) -> TransportError:
    """Return the error for a refusal whose body has not arrived; ``said`` describes the head of the answer."""
    return _error(name, said, Refusal.of(status))


def _error(name: str, said: str, refusal: Refusal) -> TransportError:
    if refusal.again:
        return NotNowError(f"{name} does not accept the WebSocket handshake now: {said}", refusal)
    return HandshakeRefusedError(f"{name} refused the WebSocket handshake: {said}", refusal)
