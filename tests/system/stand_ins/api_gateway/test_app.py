"""Test the API Gateway stand-in and its backend over real sockets, with the `websockets` library as the client."""

import asyncio
import json
import os
from pathlib import Path

import pytest
import websockets
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.asyncio.client import ClientConnection
from yarl import URL

from loadgen.measure.stamp import encode_event
from loadgen.protocol.api_gateway import limits
from loadgen.stand_ins.api_gateway.app import build
from loadgen.stand_ins.options import OptionError
from loadgen.stand_ins.settings import Settings
from tests.system.stand_ins.api_gateway.serving import KEY, Running, client, run, running


class TestMessages:
    def test_events_reach_the_subscribers_of_their_channel_and_of_its_patterns(self) -> None:
        async def test() -> None:
            async with running() as server, client(server) as one, client(server) as two:
                await one.subscribe("/default/a/b", "1")
                await two.subscribe("/default/*", "2")
                await one.publish("/default/a/b", '{"x": 1}')
                await one.publish("/default/c", {"json": [1, None]})
                own = {"type": "message", "channel": "/default/a/b", "data": '{"x": 1}'}
                assert await one.next("message") == own
                assert await two.next("message") == {**own, "channel": "/default/*"}
                assert (await two.next("message"))["data"] == {"json": [1, None]}
                stats = await server.stats()
                assert stats["backend"]["posts_by_status"] == {"200": 3}
                assert stats["backend"]["fan_outs"] == 2
                assert stats["backend"]["queries"] == 3 + 2
                assert stats["backend"]["cpu_s"] > 0
                assert stats["gateway"]["open"] == 2

        run(test)

    def test_a_subscription_ends_with_its_connection_or_when_asked(self) -> None:
        async def test() -> None:
            async with running() as server, client(server) as stays:
                await stays.subscribe("/default/a", "1")
                async with client(server) as leaves:
                    await leaves.subscribe("/default/a", "2")
                    assert (await server.stats())["backend"]["subscriptions"] == 2
                while (await server.stats())["backend"]["subscriptions"] > 1:
                    await asyncio.sleep(0.01)
                await stays.send(action="unsubscribe", id="3", channel="/default/a")
                assert (await stays.next("unsubscribed"))["id"] == "3"
                assert (await server.stats())["backend"]["connections"] == 0
                await stays.send(action="unsubscribe", id="4", channel="/default/a")
                assert "no such subscription" in (await stays.next("error"))["message"]

        run(test)

    def test_messages_that_no_route_takes_are_refused_by_the_gateway(self) -> None:
        async def test() -> None:
            async with running(fail_every="4") as server, client(server) as one:
                for text, said in [
                    ("no JSON", "Bad request body"),
                    ("[1]", "Bad request body"),
                    ('{"action": "news"}', "Forbidden"),
                    ('{"action": "ping"}', "Internal server error"),
                ]:
                    await one.socket.send(text)
                    refused = await one.next()
                    assert refused["message"] == said
                    assert len(refused["connectionId"]) == 16
                await one.send(action="ping")
                await one.next("pong")
                await one.send(action="subscribe", id="1", channel="no slash")
                assert (await one.next("error"))["id"] == "1"
                await one.send(action="publish", id="2", channel=5)
                assert (await one.next("error"))["message"] == "the message is not of this backend"

        run(test)

    def test_no_message_makes_the_backend_fail(self) -> None:
        async def test() -> None:
            async with running() as server, client(server) as one:
                for route in ("subscribe", "unsubscribe", "publish", "ping"):
                    for more in ("{}", "[]", '"\\ud800"', "1e400", "null", '{"a":' * 200 + "1" + "}" * 200):
                        for member in ("id", "channel", "data"):
                            await one.socket.send(f'{{"action":"{route}","{member}":{more}}}')
                await one.send(action="subscribe", id="last", channel="/a")
                while (await one.next("subscribed"))["id"] != "last":
                    pass
                assert (await server.stats())["gateway"].get("refused: Internal server error") is None

        run(test)


class TestLimits:
    def test_long_messages_travel_in_frames_of_32_kb_both_ways(self) -> None:
        async def test() -> None:
            async with running() as server, client(server) as one:
                frames: list[tuple[int, bool]] = []
                parse = one.socket.protocol.recv_frame

                def note(frame: websockets.frames.Frame) -> None:
                    frames.append((len(frame.data), frame.fin))
                    parse(frame)

                one.socket.protocol.recv_frame = note  # type: ignore[method-assign]
                await one.subscribe("/a", "1")
                data = "x" * 100_000
                message = json.dumps({"action": "publish", "id": "p", "channel": "/a", "data": data})
                await one.socket.send([message[n : n + 32_768] for n in range(0, len(message), 32_768)])
                assert (await one.next("message"))["data"] == data
                sizes = [size for size, _ in frames if size > 200]
                assert max(sizes) == limits.FRAME_MAX_BYTES
                assert sum(sizes) == 100_000 + len('{"type":"message","channel":"/a","data":""}')
                assert [fin for size, fin in frames if size > 200] == [False, False, False, True]

        run(test)

    @pytest.mark.parametrize(
        ("send", "code"),
        [
            ("x" * (limits.FRAME_MAX_BYTES + 1), 1009),
            (["x" * limits.FRAME_MAX_BYTES] * 5, 1009),
            (b"binary", 1003),
        ],
    )
    def test_what_is_too_large_or_binary_closes_the_connection(
        self, send: str | bytes | list[str], code: int
    ) -> None:
        async def test() -> None:
            async with running() as server, client(server) as one:
                await one.socket.send(send)
                assert (await one.closed())[0] == code
                while (stats := await server.stats())["gateway"]["open"]:
                    await asyncio.sleep(0.01)
                assert stats["gateway"][f"closed with {code}"] == 1

        run(test)

    def test_an_idle_connection_is_closed_and_one_with_messages_is_not(self) -> None:
        async def test() -> None:
            async with running(idle_s="0.5") as server, client(server) as idle, client(server) as busy:
                pinged = asyncio.create_task(_pinging(idle.socket))
                ended = asyncio.create_task(idle.closed())
                for _ in range(12):
                    await busy.send(action="ping")
                    await busy.next("pong")
                    await asyncio.sleep(0.1)
                # The connection was closed as idle although its client sent pings: they do not count as messages.
                assert await ended == (1001, "idle")
                pinged.cancel()
            async with running(idle_s="0.5", pings_count="yes") as server, client(server) as pinging:
                pinged = asyncio.create_task(_pinging(pinging.socket))
                await asyncio.sleep(1.2)
                await pinging.send(action="ping")
                await pinging.next("pong")
                pinged.cancel()

        run(test)

    def test_every_connection_ends_with_its_lifetime(self) -> None:
        async def test() -> None:
            async with running(lifetime_s="0.4") as server, client(server) as one:
                for _ in range(3):
                    await one.send(action="ping")
                    await one.next("pong")
                assert await one.closed() == (1001, "lifetime")

        run(test)

    def test_the_account_has_one_throttle_for_connects_messages_and_posts(self) -> None:
        async def test() -> None:
            async with running(account_rate="0.001", account_burst="3") as server, client(server) as one:
                await one.subscribe("/a", "1")
                await one.send(action="publish", id="2", channel="/a", data="x")
                # This publish uses up the quota, so the POST of its event is refused. Two retries are refused
                # too, and the event is lost.
                await one.next("published")
                await one.send(action="ping")
                assert (await one.next())["message"] == "Limit exceeded"
                with pytest.raises(websockets.InvalidStatus) as refused:
                    async with client(server):
                        pass
                assert refused.value.response.status_code == 429
                stats = await server.stats()
                assert stats["backend"]["posts_by_status"] == {"429": 3}
                assert stats["backend"]["retries"] == 2
                assert stats["backend"]["lost"] == 1

        run(test)


async def _pinging(socket: ClientConnection) -> None:
    while True:
        await socket.ping()
        await asyncio.sleep(0.1)


class TestConnections:
    """Test `@connections` as a user's own backend uses it."""

    def test_one_posts_to_a_connection_looks_at_it_and_ends_it(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with running(tmp_path / "journal") as server, client(server) as one:
                await one.subscribe("/a", "s1")
                url = server.connections(server.id_of("s1"))
                token = {"Authorization": f"Bearer {KEY}"}
                async with server.http.post(url, data=b'{"type":"x"}', headers=token) as answer:
                    assert answer.status == 200
                await one.next("x")
                async with server.http.get(url, headers=token) as answer:
                    found = await answer.json()
                    assert sorted(found) == ["connectedAt", "identity", "lastActiveAt"]
                    assert found["identity"]["sourceIp"] == "127.0.0.1"
                for headers in ({}, {"Authorization": "Bearer wrong"}):
                    for ask in (server.http.post, server.http.get, server.http.delete):
                        async with ask(url, headers=headers) as answer:
                            assert answer.status == 403
                async with server.http.post(
                    url, data=bytes(limits.MESSAGE_MAX_BYTES + 1), headers=token
                ) as answer:
                    assert answer.status == 413
                async with server.http.delete(url, headers=token) as answer:
                    assert answer.status == 204
                assert (await one.closed())[0] == 1001
                for ask in (server.http.post, server.http.get, server.http.delete):
                    async with ask(url, headers=token) as answer:
                        assert answer.status == 410
                        assert answer.headers["x-amzn-ErrorType"] == "GoneException"

        run(test)

    def test_a_post_signed_by_botocore_is_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDLOCAL")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-canary")

        async def test() -> None:
            async with running(tmp_path / "journal") as server, client(server) as one:
                await one.subscribe("/a", "s1")
                url = server.connections(server.id_of("s1"))
                for secret, status in (("secret-canary", 200), ("other", 403)):
                    request = AWSRequest("POST", url, data=b'{"type":"x"}')
                    credentials = Credentials("AKIDLOCAL", secret)
                    SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(request)
                    async with server.http.post(
                        URL(url, encoded=True), data=request.data, headers=dict(request.headers)
                    ) as answer:
                        assert answer.status == status
                await one.next("x")

        run(test)

    def test_a_client_that_does_not_read_is_refused_with_429(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with running(tmp_path / "journal", buffer_bytes="1000") as server, client(server) as one:
                await one.subscribe("/a", "s1")
                url = server.connections(server.id_of("s1"))
                one.socket.transport.pause_reading()
                statuses = set[int]()
                while 429 not in statuses:
                    async with server.http.post(
                        url, data=bytes(100_000), headers={"Authorization": f"Bearer {KEY}"}
                    ) as answer:
                        statuses.add(answer.status)
                assert statuses == {200, 429}
                assert server.noted("buffer full")[0]["unsent_bytes"] > 1_000

        run(test)


class TestLosses:
    def test_each_loss_is_in_the_journal_with_its_reason(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with (
                running(tmp_path / "journal", lose_every="3", throttle_every="5", retries="0") as server,
                client(server) as one,
            ):
                await one.subscribe("/a/*", "s1")
                for number in range(30):
                    await one.publish("/a/b", encode_event(7, 9, number, 1, 1, 100))
                stats = await server.stats()
                got = set[int]()
                while len(got) < 30 - stats["gateway"]["lost"] - stats["backend"]["lost"]:
                    got.add(json.loads((await one.next("message"))["data"])["_lg"][2])
                lost = server.noted("lost")
                assert {line["stamp"][2] for line in lost} == set(range(30)) - got
                assert len(lost) == 30 - len(got)
                whys = [line["why"] for line in lost]
                assert whys.count("throttled") == 6 == len(server.noted("throttled"))
                assert whys.count("lose-every") == 8
                for line in lost:
                    assert (line["stamp"][:2], line["channel"]) == ([7, 9], "/a/*")
                    assert line["connection"] == server.id_of("s1")

        run(test)

    def test_a_connection_that_is_gone_is_answered_with_410_and_forgotten(self, tmp_path: Path) -> None:
        async def test() -> None:
            async with running(tmp_path / "journal", gone_every="2") as server, client(server) as one:
                await one.subscribe("/a", "s1")
                async with client(server) as publisher:
                    for number in range(2):
                        await publisher.publish("/a", encode_event(7, 9, number, 1, 1, 100))
                    await one.next("message")
                    assert await one.closed() == (1006, "")
                    stats = (await server.stats())["backend"]
                    assert stats["posts_by_status"] == {"200": 1, "410": 1}
                    assert stats["connections"] == 0
                    (lost,) = server.noted("lost")
                    assert (lost["why"], lost["stamp"]) == ("gone", [7, 9, 1])
                    assert len(server.noted("gone")) == 1
                    await publisher.publish("/a", "x")
                    assert sum((await server.stats())["backend"]["posts_by_status"].values()) == 2

        run(test)

    def test_a_fan_out_takes_as_long_as_its_posts_with_their_concurrency(self) -> None:
        async def test() -> None:
            async with running(post_delay_ms="50", concurrency="2") as server, client(server) as one:
                for number in range(6):
                    await one.subscribe(f"/a{'/b' * number}/*", str(number))
                await one.publish("/a/b/b/b/b/b/b", "x")
                stats = (await server.stats())["backend"]
                assert stats["posts_at_once"] == 2
                # The fan-out is six POSTs of 50 ms each, two at a time, so it takes at least 150 ms.
                assert stats["fan_out_ms"]["max"] >= 150
                assert stats["fan_outs_total_s"] >= 0.15

        run(test)


class TestConnect:
    def test_what_is_no_handshake_is_refused(self) -> None:
        async def test() -> None:
            async with running() as server:
                for path, status in (("/production", 403), ("/other", 404)):
                    async with server.http.get(f"http://127.0.0.1:{server.port}{path}") as answer:
                        assert answer.status == status

        run(test)

    def test_a_custom_authorizer_knows_the_key_and_users(self, tmp_path: Path) -> None:
        (tmp_path / "people.csv").write_text("id,token\nada,tok-ada\n")

        async def status(of: Running, headers: dict[str, str], query: str = "") -> int:
            try:
                async with client(of, query, **headers):
                    return 101
            except websockets.InvalidStatus as refused:
                return refused.response.status_code

        async def test() -> None:
            async with running(authorizer="custom", users=str(tmp_path / "people.csv")) as server:
                assert await status(server, {}) == 401
                assert await status(server, {"Authorization": "tok-eve"}) == 403
                for headers in (
                    {"Authorization": KEY},
                    {"x-api-key": KEY},
                    {"Authorization": "Bearer tok-ada"},
                ):
                    assert await status(server, headers) == 101
                assert await status(server, {}, "?token=tok-ada") == 101
                async with client(server, Authorization="tok-ada") as ada:
                    await ada.subscribe("/users/ada", "1")
                    await ada.send(action="subscribe", id="2", channel="/users/bob")
                    assert (await ada.next("error"))["id"] == "2"
                    await ada.send(action="publish", id="3", channel="/users/ada", data="x")
                    assert "may not publish" in (await ada.next("error"))["message"]
                    async with client(server, Authorization=KEY) as backend:
                        await backend.publish("/users/ada", "x")
                        assert (await ada.next("message"))["data"] == "x"

        run(test)

    def test_a_signature_needs_credentials_of_the_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        with pytest.raises(OptionError, match="set AWS_ACCESS_KEY_ID"):
            build(Settings(KEY, None, {"authorizer": "iam"}))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDLOCAL")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

        async def test() -> None:
            async with running(authorizer="iam") as server:
                with pytest.raises(websockets.InvalidStatus) as refused:
                    async with client(server):
                        pass
                assert refused.value.response.status_code == 403

        run(test)


def test_the_backend_ends_with_the_gateway_and_has_no_secret_on_its_command_line() -> None:
    async def test() -> None:
        async with running() as server:
            await server.stats()
            (backend,) = _backends()
            command = Path(f"/proc/{backend}/cmdline").read_text()
            assert KEY not in command
        assert _backends() == []

    run(test)


def _backends() -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and "api_gateway.backend" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
