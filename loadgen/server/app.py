"""The aiohttp application: the HTTP and realtime routes of an Event API, and the editor page, on one port."""

from aiohttp import web

from loadgen.protocol.appsync.endpoints import HTTP_PATH, REALTIME_PATH
from loadgen.server import editor
from loadgen.server.api import EventApi
from loadgen.server.bodies import BODY_MAX_BYTES
from loadgen.server.cors import preflight
from loadgen.server.http import PublishEndpoint
from loadgen.server.websocket import RealtimeEndpoint


def build_app(api: EventApi) -> web.Application:
    """Return the application for one Event API; when the application shuts down, it closes the WebSockets."""
    realtime = RealtimeEndpoint(api)
    publish = PublishEndpoint(api)
    app = web.Application(client_max_size=BODY_MAX_BYTES)
    app.router.add_post(HTTP_PATH, publish.handle)
    app.router.add_options(HTTP_PATH, preflight)
    app.router.add_get(REALTIME_PATH, realtime.handle, allow_head=False)
    editor.add_routes(app)

    async def close_connections(_: web.Application) -> None:
        await realtime.close_all()

    app.on_shutdown.append(close_connections)
    return app
