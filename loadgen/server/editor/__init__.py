"""The Pub/Sub editor: a page on the server itself, for people, as the AWS console has one.

It is a client like any other: it speaks the protocol, with the key that is typed in, and the server does nothing for it
but send its files.
"""

from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from aiohttp import web

_FILES: Final = {
    "/": ("page.html", "text/html"),
    "/editor/editor.js": ("editor.js", "text/javascript"),
    "/editor/channels.js": ("channels.js", "text/javascript"),
    "/editor/protocol.js": ("protocol.js", "text/javascript"),
    "/editor/editor.css": ("editor.css", "text/css"),
}
_HEADERS: Final = {
    # Nothing but its own files, and connections back to where it came from.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_routes(app: web.Application) -> None:
    """Serve the page at `/`."""
    for path, (name, content_type) in _FILES.items():
        body = files(__package__).joinpath(name).read_bytes()
        app.router.add_get(path, _sender(body, content_type))


def _sender(body: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def send(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)

    return send
