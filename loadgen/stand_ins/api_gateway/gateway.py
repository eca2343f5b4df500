"""The gateway: its connections, its routes, and the messages between clients and the backend."""

import asyncio
import json
import secrets
from collections import Counter
from typing import Any, Final

from loadgen.protocol.api_gateway.limits import INTEGRATION_TIMEOUT_S
from loadgen.stand_ins.api_gateway.connection import GOING_AWAY, Connection
from loadgen.stand_ins.api_gateway.invoking import BackendGoneError, BackendProcess
from loadgen.stand_ins.api_gateway.journal import GatewayJournal
from loadgen.stand_ins.api_gateway.options import Options
from loadgen.stand_ins.api_gateway.throttle import Throttle

ROUTES: Final = frozenset({"subscribe", "unsubscribe", "publish", "ping"})
"""The API's routes, by `$request.body.action`; the API has no route `$default`."""
_SHUTDOWN_S: Final = 1.0


class Gateway:
    """The gateway's state and routing; `sockets` and `management` pass connections and requests to it."""

    def __init__(self, options: Options, backend: BackendProcess, journal: GatewayJournal) -> None:
        self.options, self.backend, self.journal = options, backend, journal
        self.connections: dict[str, Connection] = {}
        self.throttle = Throttle(options.account_rate, options.account_burst)
        self.counts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, connection: Connection) -> None:
        """Register a connection that was accepted."""
        self.connections[connection.id] = connection
        self.counts["connections"] += 1

    async def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended, and tell the backend by `$disconnect`."""
        self.connections.pop(connection.id, None)
        self.counts[f"closed with {connection.closed_with or 'nothing'}"] += 1
        try:
            await self.backend.invoke("$disconnect", connection.id, subject=connection.subject)
        except BackendGoneError:
            return  # the server is stopping

    def on_message(self, connection: Connection, text: str) -> None:
        """Route a message of a client to the backend, whose answer is sent later."""
        self.counts["messages"] += 1
        if not self.throttle.take():
            self._refuse(connection, "Limit exceeded", "requestId")
            return
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        route = body.get("action") if isinstance(body, dict) else None
        if not isinstance(route, str):
            self._refuse(connection, "Bad request body", "messageId")
        elif route not in ROUTES:
            self._refuse(connection, "Forbidden", "requestId")
        elif self._is_nth("messages", self.options.fail_every):
            self._refuse(connection, "Internal server error", "requestId")
        else:
            task = asyncio.get_running_loop().create_task(self._integrate(connection, route, text))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _integrate(self, connection: Connection, route: str, text: str) -> None:
        """Invoke the backend and send its answer to the client, as a route with a route response does."""
        try:
            async with asyncio.timeout(INTEGRATION_TIMEOUT_S):
                answer = await self.backend.invoke(route, connection.id, text, connection.subject)
        except (BackendGoneError, TimeoutError):
            self._refuse(connection, "Internal server error", "requestId")
            return
        if answer.failed:
            self._refuse(connection, "Internal server error", "requestId")
        elif answer.body:
            connection.send(answer.body.encode())

    def _refuse(self, connection: Connection, message: str, id_name: str) -> None:
        self.counts[f"refused: {message}"] += 1
        said = {"message": message, "connectionId": connection.id, id_name: secrets.token_hex(8)}
        connection.send(json.dumps(said).encode())

    def _is_nth(self, what: str, every: int) -> bool:
        return bool(every) and self.counts[what] % every == 0

    def post(self, connection_id: str, message: bytes) -> int:
        """Send a message to a connection, as `POST @connections` does; return the status."""
        options, counts = self.options, self.counts
        counts["posts"] += 1
        if not self.throttle.take() or self._is_nth("posts", options.throttle_every):
            self.journal.note("throttled", connection=connection_id)
            return 429
        connection = self.connections.get(connection_id)
        if connection is not None and self._is_nth("posts", options.gone_every):
            connection.cut()
        if connection is None or not connection.is_open:
            self.journal.note("gone", connection=connection_id)
            return 410
        if connection.unsent_bytes > options.buffer_bytes:
            self.journal.note("buffer full", connection=connection_id, unsent_bytes=connection.unsent_bytes)
            return 429
        counts["accepted posts"] += 1
        if self._is_nth("accepted posts", options.lose_every):
            counts["lost"] += 1
            self.journal.undelivered("lose-every", connection_id, message)
        else:
            connection.send(message)
        return 200

    def report(self) -> dict[str, Any]:
        """Return the gateway's figures as JSON values."""
        return {"open": len(self.connections), **dict(self.counts)}

    async def close_all(self) -> None:
        """Close every connection with 1001, and wait up to a second for the clients' answers."""
        ended = [connection.ended for connection in self.connections.values()]
        for connection in list(self.connections.values()):
            connection.close(GOING_AWAY)
        if ended:
            await asyncio.wait(ended, timeout=_SHUTDOWN_S)
        for connection in list(self.connections.values()):
            connection.cut()
