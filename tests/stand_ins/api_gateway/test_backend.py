"""Test the stand-in's backend within this process, with `Posts` in place of the gateway that it posts to."""

import asyncio
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.stamp import encode_event
from loadgen.stand_ins.api_gateway import link
from loadgen.stand_ins.api_gateway.backend import Backend
from loadgen.stand_ins.api_gateway.journal import GatewayJournal


class Posts:
    """Keeps posts, and answers them with given status codes in turn, afterwards with 200."""

    def __init__(self, *statuses: int) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.open = self.most_open = 0
        self._statuses = list(statuses)

    async def __call__(self, connection: str, message: bytes) -> int:
        self.sent.append((connection, json.loads(message)))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        return self._statuses.pop(0) if self._statuses else 200


def backend_of(post: Posts, journal: Path | None = None, **more: Any) -> Backend:
    settings = {
        "concurrency": 50,
        "invocations": 10,
        "query_ms": 0.0,
        "retries": 0,
        "acknowledge_after": True,
    }
    start = link.Start(url="http://127.0.0.1:1/s/@connections", token="t", **{**settings, **more})
    return Backend(start, post, GatewayJournal(journal))


async def ask(backend: Backend, connection: str, subject: str | None = None, **message: Any) -> Any:
    invocation = link.Invocation(1, message["action"], connection, json.dumps(message), subject)
    answer = await backend.answer(invocation)
    return json.loads(answer.body) if answer.body else None


def test_a_fan_out_keeps_to_its_sockets_and_reaches_each_connection_once() -> None:
    async def test() -> None:
        posts = Posts()
        backend = backend_of(posts, concurrency=3)
        for number in range(20):
            await ask(backend, f"c{number}", action="subscribe", id="1", channel="/a")
        assert await ask(backend, "c0", action="publish", id="p", channel="/a", data="x") == {
            "type": "published",
            "id": "p",
        }
        assert sorted(connection for connection, _ in posts.sent) == sorted(f"c{n}" for n in range(20))
        assert posts.most_open == 3 == backend.statistics.most_open
        assert posts.sent[0][1] == {"type": "message", "channel": "/a", "data": "x"}

    asyncio.run(test())


def test_what_is_throttled_is_repeated_and_then_lost(tmp_path: Path) -> None:
    async def test() -> None:
        posts, journal = Posts(429, 429, 200, 429, 429, 429), tmp_path / "journal"
        backend = backend_of(posts, journal, retries=2)
        await ask(backend, "c", action="subscribe", id="s1", channel="/a")
        for number in range(2):
            await ask(
                backend,
                "p",
                action="publish",
                id="p",
                channel="/a",
                data=encode_event(1, 9, number, 1, 1, 80),
            )
        assert dict(backend.statistics.posts) == {"429": 5, "200": 1}
        assert backend.statistics.retries == 4
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        (lost,) = [line for line in lines if line["kind"] == "lost"]
        assert (lost["why"], lost["stamp"], lost["connection"]) == ("throttled", [1, 9, 1], "c")

    asyncio.run(test())


def test_a_connection_that_is_gone_gets_no_more_posts() -> None:
    async def test() -> None:
        posts = Posts(410)
        backend = backend_of(posts)
        await ask(backend, "c", action="subscribe", id="1", channel="/a")
        await ask(backend, "c", action="subscribe", id="2", channel="/b")
        for channel in ("/a", "/a", "/b"):
            await ask(backend, "p", action="publish", id="p", channel=channel, data=1)
        assert len(posts.sent) == 1
        assert backend.statistics.gone_removed == 1

    asyncio.run(test())


def test_a_publish_may_be_answered_before_its_fan_out() -> None:
    async def test() -> None:
        for after in (True, False):
            posts = Posts()
            backend = backend_of(posts, acknowledge_after=after, query_ms=20.0)
            await ask(backend, "c", action="subscribe", id="1", channel="/a")
            await ask(backend, "p", action="publish", id="p", channel="/a", data=1)
            assert len(posts.sent) == after
            await asyncio.sleep(0.1)
            assert len(posts.sent) == 1

    asyncio.run(test())


def test_no_more_invocations_run_at_once_than_allowed() -> None:
    async def test() -> None:
        backend = backend_of(Posts(), invocations=2, query_ms=5.0)
        await asyncio.gather(
            *(ask(backend, "p", action="publish", id="p", channel="/a", data=1) for _ in range(8))
        )
        assert backend.statistics.most_invocations == 2
        assert backend.statistics.waited_ns >= 15_000_000

    asyncio.run(test())


def test_a_user_subscribes_to_its_own_channel_only_and_does_not_publish() -> None:
    async def test() -> None:
        backend = backend_of(Posts())
        own = await ask(backend, "c", "ada", action="subscribe", id="1", channel="/users/ada")
        assert own["type"] == "subscribed"
        for message in (
            {"action": "subscribe", "channel": "/users/bob"},
            {"action": "subscribe", "channel": "/users/*"},
            {"action": "publish", "channel": "/users/ada", "data": 1},
        ):
            refused = await ask(backend, "c", "ada", id="2", **message)
            assert (refused["type"], refused["id"]) == ("error", "2")

    asyncio.run(test())


@given(st.sampled_from(["subscribe", "unsubscribe", "publish", "ping", "other"]), st.text(max_size=200))
def test_any_body_is_answered_in_json(route: str, body: str) -> None:
    async def test() -> None:
        answer = await backend_of(Posts()).answer(link.Invocation(7, route, "c", body))
        assert answer.number == 7
        assert not answer.failed
        json.loads(answer.body)

    asyncio.run(test())


@settings(max_examples=25, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(),
        lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    )
)
def test_an_event_of_any_json_arrives_as_it_was_written(data: Any) -> None:
    async def test() -> None:
        posts = Posts()
        backend = backend_of(posts)
        await ask(backend, "c", action="subscribe", id="1", channel="/a")
        await ask(backend, "p", action="publish", id="p", channel="/a", data=data)
        assert posts.sent[0][1]["data"] == data

    asyncio.run(test())
