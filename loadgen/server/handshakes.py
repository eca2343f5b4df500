"""Open and close WebSockets as RFC 6455 demands, where aiohttp does otherwise."""

from collections.abc import Awaitable, Callable, Collection
from typing import Final

from aiohttp import WSMsgType, hdrs, web

NORMAL_CLOSURE: Final = 1000
PROTOCOL_ERROR: Final = 1002

FRAME_MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest message; a larger one closes the connection with 1009 (assumption).

The value exceeds the payload limit, since escaping lengthens events and Amplify sends each event twice.
"""

_UPGRADE: Final = (
    hdrs.UPGRADE,
    hdrs.CONNECTION,
    hdrs.SEC_WEBSOCKET_KEY,
    hdrs.SEC_WEBSOCKET_VERSION,
    hdrs.SEC_WEBSOCKET_EXTENSIONS,
)
_CLOSE_TIMEOUT_S: Final = 5.0


async def accept(request: web.Request, subprotocols: Collection[str]) -> web.WebSocketResponse:
    """Answer a WebSocket handshake; end the connection with `answer_close` when its messages have ended.

    Raises:
        HTTPBadRequest: a header of the handshake is not ASCII.
    """
    if not all(value.isascii() for name in _UPGRADE for value in request.headers.getall(name, [])):
        # RFC 6455, 4.2.1, allows only ASCII in these headers, and aiohttp fails on other characters.
        raise web.HTTPBadRequest(text="the headers of the WebSocket handshake are not ASCII")
    socket = web.WebSocketResponse(
        protocols=subprotocols,
        compress=False,
        # Add one byte, since aiohttp refuses even a message of exactly `max_msg_size`.
        max_msg_size=FRAME_MAX_BYTES + 1,
        timeout=_CLOSE_TIMEOUT_S,
        # With autoclose, aiohttp would answer every close code with 1000. `answer_close` sends the right code instead.
        autoclose=False,
    )
    await socket.prepare(request)
    return socket


async def converse(
    socket: web.WebSocketResponse,
    on_text: Callable[[str], Awaitable[None]],
    on_binary: Callable[[], None],
    on_end: Callable[[], None],
) -> None:
    """Pass on the client's messages until either side closes; ``on_end`` is called before the close is answered."""
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await on_text(message.data)
            elif message.type is WSMsgType.BINARY:
                on_binary()
    finally:
        on_end()
    await answer_close(socket)


async def answer_close(socket: web.WebSocketResponse) -> None:
    """Answer the client's close frame, unless the server has begun to close."""
    if not socket.closed:
        await socket.close(code=_answer_to(socket.close_code), drain=False)


def _answer_to(code: int | None) -> int:
    """Return the code that answers a client's close frame (RFC 6455, 7.4); ``code`` is 0 if the frame has none."""
    may_be_sent = not code or 1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999
    return NORMAL_CLOSURE if may_be_sent else PROTOCOL_ERROR
