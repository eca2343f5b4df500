"""Read request bodies within limits of size, of time and of total memory."""

import asyncio
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestPayloadError

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""Largest body; a larger one is refused with status 413 without being read (assumption).

The value exceeds the payload limit, since escaping lengthens events.
"""

BODY_TIMEOUT_S: Final = 20.0
"""Time within which a body must have arrived (assumption)."""

ALL_BODIES_BYTES: Final = 64 * 1024 * 1024
"""Memory for all incomplete bodies together; above it, further data waits in the kernel."""


class BodyError(Exception):
    """The body did not arrive: the client closed the connection, was too slow, or sent invalid HTTP."""


class BodyTooLargeError(Exception):
    """The body is longer than `BODY_MAX_BYTES`."""


class Bodies:
    """Reads the request bodies of one server, within a common memory limit."""

    def __init__(self) -> None:
        self._held_bytes = 0
        self._room = asyncio.Event()

    async def read(self, request: web.Request) -> bytes:
        """Return the body of a request.

        Raises:
            BodyError: the body did not arrive, or not within `BODY_TIMEOUT_S`.
            BodyTooLargeError: the body is longer than `BODY_MAX_BYTES`.
        """
        content = request.content
        if (request.content_length or 0) > BODY_MAX_BYTES:
            raise BodyTooLargeError
        try:
            if content.is_eof():
                # The usual case: the body arrived together with the head.
                return content.read_nowait()
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._read(content)
        except (RequestPayloadError, ConnectionError, TimeoutError) as error:
            raise BodyError from error

    async def _read(self, content: StreamReader) -> bytes:
        body = bytearray()
        try:
            while chunk := await content.readany():
                while self._held_bytes > ALL_BODIES_BYTES:
                    self._room.clear()
                    await self._room.wait()
                body += chunk
                self._held_bytes += len(chunk)
                if len(body) > BODY_MAX_BYTES:
                    raise BodyTooLargeError
        finally:
            self._held_bytes -= len(body)
            self._room.set()
        return bytes(body)
