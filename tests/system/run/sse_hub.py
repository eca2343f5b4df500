"""A hub of server-sent events for tests, in a thread, with known losses, replays, tokens and refusals."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from aiohttp import web

from tests.system.harness import STUCK_S

Lost = tuple[str, str]
"""(channel, event) of a delivery that was left out on purpose."""


@dataclass
class Hub:
    """The hub's settings, which a test may change at any time, and counts of what happened."""

    #: Every Nth delivery is left out; 0 for none.
    lose_every: int = 0
    #: Value in ms of the `retry` field that is sent; 0 for no such field.
    retry_ms: int = 0
    #: Number of events that a replay repeats although the client has received them.
    repeated: int = 0
    #: True if a client needs the token `secret-CHANNEL` to open a channel's stream.
    guarded: bool = False
    #: Status of the answer to every request for a stream; 200 to serve it.
    status: int = 200
    lost: list[Lost] = field(default_factory=list)
    #: `Last-Event-ID` of each request that had one.
    resumed: list[str] = field(default_factory=list)
    replayed: int = 0
    requests: int = 0
    url: str = ""
    _streams: dict[str, set[asyncio.Queue[bytes | None]]] = field(default_factory=dict)
    _kept: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _deliveries: Iterator[int] = field(default_factory=lambda: count(1))
    _loop: asyncio.AbstractEventLoop | None = None

    def cut(self) -> None:
        """End every stream."""

        def end() -> None:
            for queue in {queue for each in self._streams.values() for queue in each}:
                queue.put_nowait(None)

        assert self._loop is not None
        self._loop.call_soon_threadsafe(end)

    async def publish(self, request: web.Request) -> web.Response:
        """Accept an event, as a body or as a form, and write it to the streams of its channel."""
        if request.content_type == "application/x-www-form-urlencoded":
            form = await request.post()
            channel, event = str(form["topic"]), str(form["data"])
        else:
            channel, event = request.match_info["channel"], await request.text()
        number = next(self._numbers)
        data = event if "channel" in request.match_info else json.dumps({"topic": channel, "data": event})
        message = f"id: {number}\ndata: {data}\n\n".encode()
        self._kept.setdefault(channel, []).append((number, message))
        for queue in self._streams.get(channel, ()):
            if self.lose_every and next(self._deliveries) % self.lose_every == 0:
                self.lost.append((channel, event))
            else:
                queue.put_nowait(message)
        return web.Response(status=202)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serve a stream of one channel, or of the channels in the query."""
        self.requests += 1
        if self.status != 200:
            return web.Response(status=self.status, text="no")
        several = request.query.get("topics")
        channels = several.split(",") if several else [request.match_info["channel"]]
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or request.query.get("token")
        if self.guarded and token != f"secret-{channels[0]}":
            return web.Response(status=401, text=f"{token} is wrong")
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        if self.retry_ms:
            queue.put_nowait(b"retry: %d\n\n" % self.retry_ms)
        if (last := request.headers.get("last-event-id")) is not None:
            self.resumed.append(last)
            missed = sorted(each for name in channels for each in self._kept.get(name, ()))
            for number, message in missed:
                if number > int(last) - self.repeated:
                    self.replayed += number > int(last)
                    queue.put_nowait(message)
        for channel in channels:
            self._streams.setdefault(channel, set()).add(queue)
        try:
            while (written := await self._next(queue)) is not None:
                await response.write(written)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            for channel in channels:
                self._streams[channel].discard(queue)
        return response

    async def _next(self, queue: "asyncio.Queue[bytes | None]") -> bytes | None:
        """Return the next message, or a comment if there is none for a while."""
        try:
            return await asyncio.wait_for(queue.get(), 0.2)
        except TimeoutError:
            return b": still here\n\n"

    async def _serve(self, ready: threading.Event, over: asyncio.Event) -> None:
        app = web.Application()
        app.router.add_get("/sub/{channel:.+}", self.stream)
        app.router.add_get("/stream", self.stream)
        app.router.add_post("/pub/{channel:.+}", self.publish)
        app.router.add_post("/hub", self.publish)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await over.wait()
        await runner.cleanup()


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Run a hub in a thread, and set its `url`."""
    ready, over = threading.Event(), asyncio.Event()
    loop = hub._loop = asyncio.new_event_loop()

    def serve() -> None:
        loop.run_until_complete(hub._serve(ready, over))
        for task in (tasks := asyncio.all_tasks(loop)):
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert ready.wait(STUCK_S)
    try:
        yield hub
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
