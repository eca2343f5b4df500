"""`python -m loadgen.stand_ins.api_gateway.backend`: the backend behind the gateway, in place of a Lambda function.

It reads invocations from standard input and writes answers to standard output (see `link`). It keeps the table of
subscriptions, and sends each published event by a POST to `@connections` for each connection.
"""

import asyncio
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from loadgen.server.lifecycle import loop_factory
from loadgen.stand_ins.api_gateway import link
from loadgen.stand_ins.api_gateway.journal import GatewayJournal
from loadgen.stand_ins.api_gateway.table import Table

_DURATIONS_KEPT: Final = 100_000
_BACKOFF_S: Final = 0.05
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError)
_log: Final = logging.getLogger(__name__)
_text: Final = msgspec.json.Encoder().encode


class Body(msgspec.Struct):
    """A client's message; ``data`` keeps the event's JSON text unchanged."""

    id: msgspec.Raw = msgspec.Raw(b"null")
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")


_body: Final = msgspec.json.Decoder(Body).decode


class Statistics:
    """The backend's counts of its own work, and times measured in the backend's process."""

    def __init__(self) -> None:
        self.invocations: Counter[str] = Counter()
        self.posts: Counter[str] = Counter()
        self.posts_ns = self.fan_outs_ns = self.waited_ns = 0
        self.retries = self.lost = self.gone_removed = 0
        self.most_open = self.most_invocations = 0
        #: Durations of the latest fan-outs in ns, each measured from the query of the table to the last POST's answer.
        self.fan_outs: deque[int] = deque(maxlen=_DURATIONS_KEPT)

    def report(self, table: Table) -> dict[str, Any]:
        """Return the counts, and figures derived from them, as JSON values; ``table`` is the backend's table."""
        last = sorted(self.fan_outs)
        posts = sum(self.posts.values())
        return {
            "invocations": dict(self.invocations),
            "invocations_at_once": self.most_invocations,
            "subscriptions": len(table),
            "connections": table.connections,
            "queries": table.queries,
            "posts": posts,
            "posts_by_status": dict(self.posts),
            "posts_at_once": self.most_open,
            "post_mean_ms": self.posts_ns / posts / 1e6 if posts else None,
            "retries": self.retries,
            "lost": self.lost,
            "connections_removed_after_410": self.gone_removed,
            "fan_outs": self.invocations["publish"],
            "fan_out_ms": {
                name: last[min(len(last) - 1, int(len(last) * share))] / 1e6 if last else None
                for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
            },
            "fan_outs_total_s": self.fan_outs_ns / 1e9,
            "waited_for_a_free_invocation_s": self.waited_ns / 1e9,
            "cpu_s": time.process_time(),
        }


class Backend:
    """Answers invocations; ``post`` sends a message to a connection and returns the status, 0 for no answer."""

    def __init__(
        self, start: link.Start, post: Callable[[str, bytes], Awaitable[int]], journal: GatewayJournal
    ) -> None:
        self._start, self._post, self._journal = start, post, journal
        self._table = Table()
        self._free = asyncio.Semaphore(start.invocations)
        self._open = self._running = 0
        self._later = Tasks()
        self.statistics = Statistics()
        self._routes: Mapping[str, Callable[[link.Invocation], Awaitable[str]]] = {
            "$connect": self._on_connect,
            "$disconnect": self._on_disconnect,
            "subscribe": self._on_subscribe,
            "unsubscribe": self._on_unsubscribe,
            "publish": self._on_publish,
            "ping": self._on_ping,
        }

    async def answer(self, invocation: link.Invocation) -> link.Answer:
        """Return the answer to an invocation; wait first while the maximum number of invocations is running."""
        if invocation.route == "$stats":
            return link.Answer(invocation.number, _text(self.statistics.report(self._table)).decode())
        began_ns = time.perf_counter_ns()
        async with self._free:
            self.statistics.waited_ns += time.perf_counter_ns() - began_ns
            self.statistics.invocations[invocation.route] += 1
            self._running += 1
            self.statistics.most_invocations = max(self.statistics.most_invocations, self._running)
            try:
                body = await self._routes.get(invocation.route, self._on_default)(invocation)
            except _UNREADABLE:
                body = _error(b"null", "the message is not of this backend")
            finally:
                self._running -= 1
        return link.Answer(invocation.number, body)

    async def _on_connect(self, invocation: link.Invocation) -> str:
        return ""

    async def _on_disconnect(self, invocation: link.Invocation) -> str:
        self._table.forget(invocation.connection)
        return ""

    async def _on_ping(self, invocation: link.Invocation) -> str:
        return '{"type":"pong"}'

    async def _on_default(self, invocation: link.Invocation) -> str:
        return _error(b"null", "the backend has no such route")

    async def _on_subscribe(self, invocation: link.Invocation) -> str:
        body = _body(invocation.body.encode())
        if not body.channel.startswith("/"):
            return _error(body.id, "there is no channel: it begins with '/'")
        subject = invocation.subject
        if subject is not None and body.channel.rpartition("/")[2] != subject:
            return _error(body.id, "Forbidden: this user may subscribe to channels that end in its own id")
        self._table.add(invocation.connection, body.channel)
        self._journal.note(
            "subscribed",
            connection=invocation.connection,
            channel=body.channel,
            id=msgspec.json.decode(body.id),
        )
        return _answer(b"subscribed", body.id, body.channel, invocation.connection)

    async def _on_unsubscribe(self, invocation: link.Invocation) -> str:
        body = _body(invocation.body.encode())
        if not self._table.remove(invocation.connection, body.channel):
            return _error(body.id, "there is no such subscription")
        return _answer(b"unsubscribed", body.id, body.channel)

    async def _on_publish(self, invocation: link.Invocation) -> str:
        body = _body(invocation.body.encode())
        if not body.channel.startswith("/") or not body.data:
            return _error(body.id, "there is no channel or no data")
        if invocation.subject is not None:
            return _error(body.id, "Forbidden: this user may not publish")
        answer = _answer(b"published", body.id)
        if self._start.acknowledge_after:
            await self._fan_out(body.channel, bytes(body.data))
        else:
            self._later.add(asyncio.create_task(self._fan_out(body.channel, bytes(body.data))))
        return answer

    async def _fan_out(self, channel: str, data: bytes) -> None:
        """Send an event to each connection that subscribed to its channel, with at most `concurrency` POSTs at once."""
        began_ns = time.perf_counter_ns()
        if self._start.query_ms:
            await asyncio.sleep(self._start.query_ms / 1e3)
        targets = [
            (connection, message)
            for key, connections in self._table.find(channel)
            for message in [_delivery(key, data)]
            for connection in connections
        ]
        left = iter(targets)

        async def send() -> None:
            for connection, message in left:
                await self._deliver(connection, message)

        # Start as many tasks as the backend may use sockets: each task has one POST open at a time.
        sockets = min(self._start.concurrency, len(targets))
        await asyncio.gather(*[asyncio.create_task(send()) for _ in range(sockets)])
        took_ns = time.perf_counter_ns() - began_ns
        self.statistics.fan_outs_ns += took_ns
        self.statistics.fan_outs.append(took_ns)

    async def _deliver(self, connection: str, message: bytes) -> None:
        statistics = self.statistics
        for attempt in range(self._start.retries + 1):
            if attempt:
                statistics.retries += 1
                await asyncio.sleep(_BACKOFF_S * 2 ** (attempt - 1))
            self._open += 1
            statistics.most_open = max(statistics.most_open, self._open)
            began_ns = time.perf_counter_ns()
            try:
                status = await self._post(connection, message)
            finally:
                self._open -= 1
            statistics.posts_ns += time.perf_counter_ns() - began_ns
            statistics.posts[str(status) if status else "no answer"] += 1
            if status == 200:
                return
            if status not in (0, 429, 500, 502, 503, 504):
                break
        if status == 410:
            statistics.gone_removed += bool(self._table.forget(connection))
        statistics.lost += 1
        self._journal.undelivered(_WHY.get(status, f"status {status}"), connection, message)


_WHY: Final = {0: "no answer", 410: "gone", 413: "too large", 429: "throttled", 403: "forbidden"}


class Tasks:
    """Holds references to tasks until they are done."""

    def __init__(self) -> None:
        self._tasks = set[asyncio.Task[None]]()

    def add(self, task: "asyncio.Task[None]") -> None:
        """Hold a reference to a task until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _answer(
    kind: bytes, id_: msgspec.Raw | bytes, channel: str | None = None, connection: str | None = None
) -> str:
    more = b"" if channel is None else b',"channel":' + _text(channel)
    # Include the connection's id if given: a client can learn its id only from the backend.
    more += b"" if connection is None else b',"connectionId":' + _text(connection)
    return (b'{"type":"%b","id":%b%b}' % (kind, bytes(id_), more)).decode()


def _error(id_: msgspec.Raw | bytes, reason: str) -> str:
    return (b'{"type":"error","id":%b,"message":%b}' % (bytes(id_), _text(reason))).decode()


def _delivery(channel: str, data: bytes) -> bytes:
    return b'{"type":"message","channel":%b,"data":%b}' % (_text(channel), data)


async def _read_lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=link.LINE_MAX_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    return reader


async def serve() -> None:
    """Answer invocations until standard input ends."""
    reader = await _read_lines()
    start = link.start(await reader.readline())
    journal = GatewayJournal(None if start.journal is None else Path(start.journal))
    headers = {"Authorization": f"Bearer {start.token}"}
    timeout = aiohttp.ClientTimeout(total=29.0)
    out = sys.stdout.buffer
    waiting: list[bytes] = []
    loop = asyncio.get_running_loop()

    def flush() -> None:
        # Collect the answers of one turn of the event loop, and write them to standard output at once.
        out.write(b"".join(waiting))
        out.flush()
        waiting.clear()

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers=headers, timeout=timeout, auto_decompress=False
    ) as session:

        async def post(connection: str, message: bytes) -> int:
            url = URL(f"{start.url}/{quote(connection, safe='')}", encoded=True)
            try:
                async with session.post(url, data=message) as response:
                    await response.read()
                    return response.status
            except (aiohttp.ClientError, TimeoutError, OSError):
                return 0

        backend = Backend(start, post, journal)

        async def invoke(line: bytes) -> None:
            invocation = link.invocation(line)
            try:
                answer = await backend.answer(invocation)
            except Exception:
                # Send the client an error, as API Gateway does when a Lambda function raises, and go on with the next
                # message.
                _log.exception("an invocation of %s failed", invocation.route)
                answer = link.Answer(invocation.number, failed=True)
            if not waiting:
                loop.call_soon(flush)
            waiting.append(link.encode(answer) + b"\n")

        tasks = Tasks()
        while line := await reader.readline():
            tasks.add(asyncio.create_task(invoke(line)))
    journal.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the backend."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
