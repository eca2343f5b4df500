"""Test faults on real sockets: the server's journal agrees with the messages that clients receive."""

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from loadgen.measure.stamp import decode_event, encode_event
from loadgen.server.api_keys import ConfigError
from loadgen.server.config import ServerConfig
from loadgen.server.faults import Faults, load_faults
from loadgen.server.journal import Action
from loadgen.server.journal_reader import Journal
from loadgen.server.lifecycle import Server, urls
from loadgen.server.process import Announcement, ServerProcess

KEY = "da2-" + "f" * 26
MS = 1_000_000


class Client:
    """A subscriber that keeps what it receives, in order and with the times."""

    def __init__(self, server: "ServerProcess | Beside") -> None:
        self._announced = server.announcement
        self.received: list[tuple[int, int]] = []
        self.closed_with: int | None = None

    async def subscribe(self, subscription_id: str = "s1") -> None:
        host = self._announced.http_url.split("/")[2]
        auth = (
            base64.urlsafe_b64encode(json.dumps({"host": host, "x-api-key": KEY}).encode())
            .decode()
            .rstrip("=")
        )
        self.socket: ClientConnection = await websockets.connect(
            self._announced.ws_url,
            subprotocols=["aws-appsync-event-ws", f"header-{auth}"],  # type: ignore[list-item]
        )
        await self.socket.send(json.dumps({"type": "connection_init"}))
        await self.socket.send(
            json.dumps(
                {
                    "type": "subscribe",
                    "id": subscription_id,
                    "channel": "/default/a",
                    "authorization": {"host": host, "x-api-key": KEY},
                }
            )
        )
        while json.loads(await self.socket.recv())["type"] != "subscribe_success":
            pass
        self._reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                payload = json.loads(message)
                if payload["type"] == "data":
                    self.received.append((decode_event(payload["event"]).stamp[2], time.time_ns()))
        except websockets.ConnectionClosed:
            pass
        self.closed_with = self.socket.close_code

    async def close(self) -> None:
        await self.socket.close()
        await self._reading


async def publish(
    http: httpx.AsyncClient, server: "ServerProcess | Beside", first: int, count: int = 5
) -> Any:
    events = [encode_event(1, 9, first + n, 1, 1, 120) for n in range(count)]
    answer = await http.post(
        server.announcement.http_url,
        headers={"x-api-key": KEY},
        json={"channel": "/default/a", "events": events},
    )
    answer.raise_for_status()
    return answer.json()


class Faulty(ServerProcess):
    """A server with faults and a journal, in a separate process."""

    def __init__(self, folder: Path, faults: dict[str, Any]) -> None:
        self.journal = folder / "journal"
        (folder / "faults.yaml").write_text(json.dumps(faults))
        options = ["--faults", str(folder / "faults.yaml"), "--journal", str(self.journal)]
        super().__init__(options, api_key=KEY)


class Beside:
    """A server with faults and a journal, in this process and in the clients' event loop."""

    def __init__(self, folder: Path, faults: dict[str, Any]) -> None:
        self.journal = folder / "journal"
        (folder / "faults.yaml").write_text(json.dumps(faults))
        self._config = ServerConfig(
            api_key=KEY, faults=load_faults(folder / "faults.yaml"), journal=self.journal
        )

    async def __aenter__(self) -> Self:
        self._server = Server(self._config)
        http_url, ws_url = urls(self._config, await self._server.start())
        self.announcement = Announcement(http_url, ws_url, KEY, os.getpid())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()


AnyServer = Faulty | Beside


def run(tmp_path: Path, faults: dict[str, Any], scene: Any) -> tuple[Any, Journal]:
    """Run ``scene``, a coroutine function with the server as argument, against a server with faults.

    Return the scene's result and the server's journal.
    """

    async def played() -> tuple[Any, Path]:
        async with Beside(tmp_path, faults) as server:
            return await scene(server), server.journal

    result, journal = asyncio.run(asyncio.wait_for(played(), 120))
    return result, Journal.load(journal)


def sequences(journal: Journal) -> dict[int, int]:
    return {row["event"]: row["sequence"] for row in journal.events.to_pylist()}


def rows(journal: Journal) -> list[dict[str, Any]]:
    named = sequences(journal)
    return [{**row, "sequence": named[row["event"]]} for row in journal.deliveries.to_pylist()]


async def one_client(server: AnyServer, batches: int = 60) -> Client:
    client = Client(server)
    await client.subscribe()
    async with httpx.AsyncClient() as http:
        for batch in range(batches):
            await publish(http, server, batch * 5)
    await settled(server, [client], batches * 5)
    await client.close()
    return client


async def settled(server: AnyServer, clients: list[Client], published: int) -> None:
    """Wait until the journal has decisions on all ``published`` events, and the clients have all deliveries sent."""
    read: list[int] = []
    written = -1
    while True:
        sizes = [path.stat().st_size for path in sorted(server.journal.glob("*.arrows"))]
        # The journal grows twice a second. Read it only then, because that is the slowest part of this test.
        if sizes != read:
            read = sizes
            journal = Journal.load(server.journal)
            accepted = {row["event"] for row in journal.events.to_pylist() if row["accepted"]}
            found = journal.deliveries.to_pylist()
            whole = journal.events.num_rows == published and accepted == {row["event"] for row in found}
            written = sum(row["written_ns"] is not None for row in found) if whole else -1
        if written == sum(len(client.received) for client in clients):
            return
        await asyncio.sleep(0.05)


def test_what_was_dropped_doubled_and_held_back_is_what_the_journal_says_in_its_order(tmp_path: Path) -> None:
    with Faulty(tmp_path, {"seed": 4, "drop": "10%", "duplicate": "10%", "reorder": "10%"}) as server:
        client = asyncio.run(asyncio.wait_for(one_client(server), 120))
    journal = Journal.load(server.journal)
    written = [row["sequence"] for row in rows(journal) if row["written_ns"] is not None]
    assert [sequence for sequence, _ in client.received] == written
    actions = [row["action"] for row in rows(journal)]
    assert all(actions.count(kind) > 5 for kind in (Action.DROPPED, Action.DUPLICATE, Action.HELD))
    dropped = {row["sequence"] for row in rows(journal) if row["action"] == Action.DROPPED}
    assert dropped == set(range(300)) - {sequence for sequence, _ in client.received}


def test_the_same_seed_does_the_same(tmp_path: Path) -> None:
    def dropped(faults: dict[str, Any]) -> set[int]:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        _, journal = run(folder, faults, one_client)
        return {row["sequence"] for row in rows(journal) if row["action"] == Action.DROPPED}

    first = dropped({"seed": 4, "drop": "10%"})
    same = dropped({"seed": 4, "drop": "10%", "duplicate": "20%"})
    other = dropped({"seed": 5, "drop": "10%"})
    assert first == same != other


@pytest.mark.parametrize("overtake", [False, True])
def test_a_delay_is_kept_and_the_order_too_unless_overtaking_is_allowed(
    tmp_path: Path, overtake: bool
) -> None:
    faults = {"delay": {"uniform": {"from": "5ms", "to": "60ms"}}, "overtake": overtake}
    client, journal = run(tmp_path, faults, one_client)
    order = [sequence for sequence, _ in client.received]
    assert sorted(order) == list(range(300))
    assert (order == sorted(order)) is not overtake
    arrivals = dict(client.received)
    for row in rows(journal):
        assert row["due_ns"] - row["decided_ns"] >= 5 * MS
        assert row["due_ns"] <= row["written_ns"] <= arrivals[row["sequence"]]


def test_a_stall_holds_everything_and_stands_in_the_journal(tmp_path: Path) -> None:
    async def scene(server: Beside) -> Client:
        client = Client(server)
        await client.subscribe()
        async with httpx.AsyncClient() as http:
            for batch in range(30):
                await publish(http, server, batch * 5)
                await asyncio.sleep(0.02)
        await settled(server, [client], 150)
        await client.close()
        return client

    client, journal = run(tmp_path, {"stalls": [{"after": "100ms", "for": "300ms"}]}, scene)
    (stall,) = journal.actions.to_pylist()
    assert stall["end_ns"] - stall["start_ns"] >= 300 * MS
    arrivals = dict(client.received)
    assert len(arrivals) == 150
    for row in rows(journal):
        assert not stall["start_ns"] < row["written_ns"] < stall["end_ns"]
        assert row["written_ns"] <= arrivals[row["sequence"]]


@pytest.mark.parametrize("code", [1001, 4000, 1006])
def test_a_disconnect_closes_that_share_of_the_connections_with_that_code(tmp_path: Path, code: int) -> None:
    async def scene(server: Beside) -> list[Client]:
        clients = [Client(server) for _ in range(10)]
        # The fault begins two seconds after the server's start. By then all clients are connected.
        await asyncio.gather(*(client.subscribe(f"s{number}") for number, client in enumerate(clients)))
        async with httpx.AsyncClient() as http:
            await publish(http, server, 0)
            while sum(client.closed_with is not None for client in clients) < 3:
                await asyncio.sleep(0.02)
            closed = [client.closed_with for client in clients]
            await publish(http, server, 5)
        await settled(server, clients, 10)
        for client in clients:
            await client.close()
        assert sorted(closed, key=str) == sorted([code] * 3 + [None] * 7, key=str)
        return clients

    faults = {"disconnects": [{"after": "2s", "share": "30%", "code": code}]}
    clients, journal = run(tmp_path, faults, scene)
    actions = journal.actions.to_pylist()
    assert [action["code"] for action in actions] == [code] * 3
    assert sorted(len(client.received) for client in clients) == [5] * 3 + [10] * 7
    assert len([row for row in rows(journal) if row["written_ns"] is not None]) == 85


def test_within_the_lost_window_nothing_comes_and_after_it_everything(tmp_path: Path) -> None:
    async def scene(server: Beside) -> Client:
        client = Client(server)
        await client.subscribe()
        async with httpx.AsyncClient() as http:
            published = 0
            while not client.received:
                await publish(http, server, published)
                published += 5
                await asyncio.sleep(0.1)
        await settled(server, [client], published)
        await client.close()
        return client

    client, journal = run(tmp_path, {"lost_window": "1500ms"}, scene)
    (subscription,) = {row["begun_ns"] for row in journal.subscriptions.to_pylist()}
    found = rows(journal)
    lost = [row["sequence"] for row in found if row["action"] == Action.LOST_WINDOW]
    assert lost
    for row in found:
        early = row["decided_ns"] < subscription + 1500 * MS
        assert row["action"] == (Action.LOST_WINDOW if early else Action.SENT)
    assert [sequence for sequence, _ in client.received] == list(range(len(lost), len(found)))


def test_a_throttle_spaces_what_is_written(tmp_path: Path) -> None:
    client, journal = run(tmp_path, {"throttle": "200/s"}, lambda server: one_client(server, 10))
    found = rows(journal)
    assert len(client.received) == 50
    # The server schedules each delivery at least 5 ms after the one before, and writes none early. How late it writes
    # depends on the machine.
    due = [row["due_ns"] for row in found]
    assert all(later - earlier >= 5 * MS for earlier, later in pairwise(due))
    assert all(row["written_ns"] >= row["due_ns"] for row in found)


def test_a_throttle_with_a_short_line_drops_what_finds_it_full(tmp_path: Path) -> None:
    faults = {"throttle": "100/s", "throttle_queue": 3}
    client, journal = run(tmp_path, faults, lambda server: one_client(server, 10))
    found = rows(journal)
    lost = [row["sequence"] for row in found if row["action"] == Action.OVERFLOWED]
    assert lost
    assert all(row["written_ns"] is None for row in found if row["action"] == Action.OVERFLOWED)
    assert [sequence for sequence, _ in client.received] == sorted(set(range(50)) - set(lost))
    # A delivery that is admitted to the queue waits only for the deliveries in front of it, at most three.
    assert max(row["due_ns"] - row["decided_ns"] for row in found) <= 3 * 10 * MS


def test_a_line_without_a_throttle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("throttle_queue: 3\n")
    with pytest.raises(ConfigError, match="throttle_queue without throttle"):
        load_faults(tmp_path / "faults.yaml")


def test_rejected_events_are_told_apart_and_not_delivered(tmp_path: Path) -> None:
    async def scene(server: Beside) -> tuple[set[int], Client]:
        client, failed = Client(server), set()
        await client.subscribe()
        async with httpx.AsyncClient() as http:
            for batch in range(40):
                answer = await publish(http, server, batch * 5)
                failed |= {batch * 5 + event["index"] for event in answer["failed"]}
                assert len(answer["failed"]) + len(answer["successful"]) == 5
        await settled(server, [client], 200)
        await client.close()
        return failed, client

    (failed, client), journal = run(tmp_path, {"reject": "20%"}, scene)
    assert 5 < len(failed) < 100
    assert {row["sequence"] for row in journal.events.to_pylist() if not row["accepted"]} == failed
    assert {sequence for sequence, _ in client.received} == set(range(200)) - failed


def on_disk(journal: Journal) -> bool:
    """Return whether the journal has a publish of five events and the subscription that received it."""
    return (journal.deliveries.num_rows, journal.events.num_rows, journal.subscriptions.num_rows) == (5, 5, 1)


def test_the_journal_of_a_killed_server_is_readable(tmp_path: Path) -> None:
    options = ["--journal", str(tmp_path / "journal")]
    with ServerProcess(options, api_key=KEY) as server:

        async def scene() -> None:
            client = Client(server)
            await client.subscribe()
            async with httpx.AsyncClient() as http:
                await publish(http, server, 0)
            # The server writes its journal every half second.
            while not on_disk(Journal.load(tmp_path / "journal")):
                await asyncio.sleep(0.05)
            os.kill(server.announcement.pid, signal.SIGKILL)
            await client.close()

        asyncio.run(asyncio.wait_for(scene(), 120))
    journal = Journal.load(tmp_path / "journal")
    assert [row["sequence"] for row in rows(journal)] == [0, 1, 2, 3, 4]
    (subscription,) = journal.subscriptions.to_pylist()
    assert (subscription["id"], subscription["pattern"], subscription["ended_ns"]) == (
        "s1",
        "/default/a",
        None,
    )


# Settings.


def settings(tmp_path: Path, text: str) -> Faults:
    (tmp_path / "faults.yaml").write_text(text)
    return load_faults(tmp_path / "faults.yaml")


def test_an_empty_file_is_no_faults(tmp_path: Path) -> None:
    assert settings(tmp_path, "") == Faults()


def test_settings_have_the_units_of_scenarios(tmp_path: Path) -> None:
    faults = settings(
        tmp_path, "delay: {normal: {mean: 5ms, sd: 1ms}}\ndrop: 0.5%\nstalls: [{after: 3s, for: 500ms}]"
    )
    assert faults.delay is not None
    assert faults.delay.normal is not None
    assert (faults.delay.normal.mean_ns, faults.drop_percent, faults.stalls[0].for_ns) == (
        5 * MS,
        0.5,
        500 * MS,
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("seed: 1\ndrp: 1%", 2, "drop"),
        ("delay: {fixed: 5}", 1, "without a unit"),
        ("seed: 1\ndelay: {fixed: 5ms, exponential: {mean: 1ms}}", 2, "exactly one of"),
        ("drop: 150%", 1, "drop"),
        ("stalls: [{after: 1s}]", 1, "for"),
        ("disconnects:\n  - {after: 1s, share: 5%, code: 99}", 2, "code"),
        ("- 1", 1, "must be a mapping"),
        ("a: [", 1, "cannot be read"),
    ],
)
def test_bad_settings_are_named_with_their_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    first = str(caught.value).splitlines()[0]
    assert f"faults.yaml:{line}" in first
    assert said in first


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "faults.yaml"
    path.write_text("drop: lots")
    return path


@pytest.mark.parametrize("command", [["-m", "loadgen.server"], ["-m", "loadgen", "serve"]])
def test_a_server_with_bad_settings_says_so_and_exits_2(bad: Path, command: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, *command, "--port", "0", "--faults", str(bad)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "faults.yaml:1: drop must be" in finished.stderr
    assert "Traceback" not in finished.stderr
