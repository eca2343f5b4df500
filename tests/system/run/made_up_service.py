"""A simulated service with the two endpoints of AppSync Events, on a free port."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from aiohttp import web

from tests.system.harness import STUCK_S, free_port


class MadeUpService(Protocol):
    """Answers requests as a test defines."""

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """Answer a publish over HTTP."""

    async def realtime(self, request: web.Request) -> web.StreamResponse:
        """Hold a conversation over a WebSocket."""


@contextmanager
def served(make: Callable[[], MadeUpService]) -> Iterator[str]:
    """Make and run the service in a thread; yield the URL for publishes."""
    ready, port, loop = threading.Event(), free_port(), asyncio.new_event_loop()

    async def serve() -> None:
        service = make()
        app = web.Application()
        app.router.add_post("/event", service.publish)
        app.router.add_get("/event/realtime", service.realtime)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()

    thread = threading.Thread(
        target=lambda: (loop.run_until_complete(serve()), loop.run_forever()), daemon=True
    )
    thread.start()
    assert ready.wait(STUCK_S)
    yield f"http://127.0.0.1:{port}/event"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
