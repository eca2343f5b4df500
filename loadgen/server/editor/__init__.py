"""The Pub/Sub editor: a web page for publishing and subscribing by hand, like the one in the AWS console.

The page is an ordinary client: it speaks the protocol with the key that the user types in. The server only serves
the page's files.
"""

import re
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from aiohttp import web

_FILES: Final = {
    "/": ("page.html", "text/html"),
    "/editor/editor.js": ("editor.js", "text/javascript"),
    "/editor/channels.js": ("channels.js", "text/javascript"),
    "/editor/json.js": ("json.js", "text/javascript"),
    "/editor/latency.js": ("latency.js", "text/javascript"),
    "/editor/protocol.js": ("protocol.js", "text/javascript"),
    "/editor/editor.css": ("editor.css", "text/css"),
}
# The page may load only its own files and connect only to its own server.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src {};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: A host that a Content-Security-Policy can name. A policy cannot name an IPv6 address, so a page served from an IPv6
#: address gets only 'self'.
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?", re.ASCII)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def add_routes(app: web.Application) -> None:
    """Serve the editor page at `/` and its scripts and styles below `/editor/`."""
    for path, (name, content_type) in _FILES.items():
        body = files(__package__).joinpath(name).read_bytes()
        app.router.add_get(path, _sender(body, content_type))


def _sender(body: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def send(request: web.Request) -> web.StreamResponse:
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(_connections(request.host))}
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return send


def _connections(host: str) -> str:
    """Return the sources for `connect-src`: in some browsers 'self' does not cover a WebSocket to the same host.

    The host comes from the client's request, so text that is not plainly a host is left out of the policy.
    """
    return f"'self' ws://{host} wss://{host}" if _HOST.fullmatch(host) else "'self'"
