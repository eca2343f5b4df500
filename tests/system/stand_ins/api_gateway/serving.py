"""Run the stand-in in this process's event loop, with its backend as a separate process."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import websockets
from aiohttp import web
from websockets.asyncio.client import ClientConnection

from loadgen.stand_ins.api_gateway.app import build
from loadgen.stand_ins.settings import Settings

KEY = "da2-canary"


@dataclass
class Running:
    """A running stand-in with its backend."""

    port: int
    http: aiohttp.ClientSession
    journal: Path | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/production"

    def connections(self, connection_id: str) -> str:
        quoted = connection_id.replace("=", "%3D")
        return f"http://127.0.0.1:{self.port}/production/@connections/{quoted}"

    async def stats(self) -> dict[str, Any]:
        async with self.http.get(f"http://127.0.0.1:{self.port}/stats") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    def noted(self, kind: str) -> list[dict[str, Any]]:
        assert self.journal is not None
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [line for line in lines if line["kind"] == kind]

    def id_of(self, subscription: str) -> str:
        """Return the id of the connection that has a subscription, as the backend's journal notes it."""
        (noted,) = [line for line in self.noted("subscribed") if line["id"] == subscription]
        found: str = noted["connection"]
        return found


@asynccontextmanager
async def running(journal: Path | None = None, **options: str) -> AsyncIterator[Running]:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    runner = web.AppRunner(build(Settings(KEY, journal, named)), handle_signals=False, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as http:
            yield Running(runner.addresses[0][1], http, journal)
    finally:
        await runner.cleanup()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


class Client:
    """A client that can wait for messages of a kind."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._early: list[dict[str, Any]] = []
        #: The id of this connection, which the backend sends in the answer to a subscribe.
        self.id = ""

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def next(self, kind: str | None = None) -> dict[str, Any]:
        """Return the next message of type ``kind``, or without a type if ``kind`` is None; keep others for later."""
        for number, message in enumerate(self._early):
            if message.get("type") == kind:
                return self._early.pop(number)
        async with asyncio.timeout(20):
            while (message := json.loads(await self.socket.recv())).get("type") != kind:
                self._early.append(message)
        found: dict[str, Any] = message
        return found

    async def subscribe(self, channel: str, id_: str) -> None:
        await self.send(action="subscribe", id=id_, channel=channel)
        answer = await self.next("subscribed")
        self.id = answer.pop("connectionId")
        assert answer == {"type": "subscribed", "id": id_, "channel": channel}

    async def publish(self, channel: str, data: Any, id_: str = "p") -> None:
        await self.send(action="publish", id=id_, channel=channel, data=data)
        assert await self.next("published") == {"type": "published", "id": id_}

    async def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection; return the code and the reason sent by the gateway."""
        async with asyncio.timeout(20):
            try:
                while True:
                    await self.socket.recv()
            except websockets.ConnectionClosed as closed:
                return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd is not None else (1006, "")


@asynccontextmanager
async def client(of: Running, query: str = "", **headers: str) -> AsyncIterator[Client]:
    async with websockets.connect(
        of.url + query, max_size=None, additional_headers=headers, compression=None
    ) as socket:
        yield Client(socket)
