"""CORS answers that let web pages of any origin publish."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

#: Headers that allow any origin (CORS): a page in development is served from another port. This is safe, since no
#: cookies are used.
ANY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "x-amzn-ErrorType"}


async def preflight(request: web.Request) -> web.StreamResponse:
    """Answer a browser's CORS preflight: any origin may publish (assumption: AWS allows any origin)."""
    return web.Response(
        status=HTTPStatus.NO_CONTENT,
        headers={
            **ANY_ORIGIN,
            "Access-Control-Allow-Methods": "POST, OPTIONS",
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
            "Access-Control-Max-Age": "600",
        },
    )
