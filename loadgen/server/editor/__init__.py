"""The Pub/Sub editor: a page on the server itself, for people, as the AWS console has one.

It is a client like any other: it speaks the protocol, with the key that is typed in, and the server does nothing for it
but send its files.
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
# Nothing but its own files, and connections back to where it came from.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src {};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: What a policy may name as a host. An IPv6 address may not be; 'self' alone stands for it.
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?", re.ASCII)
_HEADERS: Final = {
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
    async def send(request: web.Request) -> web.StreamResponse:
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(_connections(request.host))}
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return send


def _connections(host: str) -> str:
    """Return where the page may connect to: not every browser takes 'self' for the WebSocket of the same host.

    The host is what the client says: anything that is not plainly one stays out of the policy.
    """
    return f"'self' ws://{host} wss://{host}" if _HOST.fullmatch(host) else "'self'"
