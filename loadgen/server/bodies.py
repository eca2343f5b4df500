"""Reading the body of a request within bounds: of size, of time, and of what all bodies together may hold."""

import asyncio
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.web_protocol import RequestPayloadError

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""A larger body is answered 413 unread (assumption). Above the payload limit: escaping lengthens events."""

BODY_TIMEOUT_S: Final = 20.0
"""Within what time a body has to be there (assumption)."""

ALL_BODIES_BYTES: Final = 64 * 1024 * 1024
"""What bodies that are not whole yet may hold together; a further one waits in the kernel for its turn."""


class BodyError(Exception):
    """There is no body: the client has gone, was too slow, or does not speak HTTP."""


class BodyTooLargeError(Exception):
    """The body is larger than is taken."""


class Bodies:
    """Reads the bodies of one server's requests."""

    def __init__(self) -> None:
        self._held_bytes = 0
        self._room = asyncio.Event()

    async def read(self, request: web.Request) -> bytes:
        """Return the body.

        Raises:
            BodyError: there is none.
            BodyTooLargeError: it is longer than `BODY_MAX_BYTES`.
        """
        content = request.content
        if (request.content_length or 0) > BODY_MAX_BYTES:
            raise BodyTooLargeError
        try:
            if content.is_eof():
                # Came along with the head, as nearly all do.
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
