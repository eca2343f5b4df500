"""Test the fan-out without sockets: times, slow readers, closed connections, and the index."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadgen.measure.stamp import encode_event
from loadgen.stand_ins.appsync_graphql.hub import WRITE_BUFFER_LIMIT_BYTES, Hub, Outlet, Subscription
from loadgen.stand_ins.appsync_graphql.schema import Schema
from loadgen.stand_ins.appsync_graphql.settings import GraphqlSettings
from loadgen.stand_ins.journal import Journal
from loadgen.stand_ins.settings import Settings

SCHEMA = Schema()
PUBLISH = SCHEMA.compile(
    "mutation ($n: String!, $d: AWSJSON!) { publish(name: $n, data: $d) { name data } }", None
)
SUBSCRIBE = SCHEMA.compile("subscription ($n: String!) { subscribe(name: $n) { data } }", None)


class Peer:
    """A client with the methods that the hub uses."""

    def __init__(self, buffered: int = 0, closed: bool = False) -> None:
        self.buffered, self.closed, self.aborted = buffered, closed, False
        self.frames: list[bytes] = []
        self.outlet = Outlet(self._write, lambda: self.buffered, self._abort)

    def _write(self, data: bytes) -> None:
        if self.closed:
            raise RuntimeError
        self.frames.append(data)

    def _abort(self) -> None:
        self.aborted = True

    @property
    def events(self) -> list[str]:
        found: list[str] = []
        for frame in self.frames:
            message: dict[str, Any] = json.loads(frame[frame.index(b"{") :])
            found.append(message["payload"]["data"]["subscribe"]["data"])
        return found


class World:
    """A hub with a simulated clock."""

    def __init__(self, journal: Path | None = None, **options: str) -> None:
        named = {name.replace("_", "-"): value for name, value in options.items()}
        settings = GraphqlSettings.of(Settings("k", None, named))
        self.now_ns = 10**12
        self.hub = Hub(settings, Journal(journal), lambda: self.now_ns)

    def subscribe(self, peer: Peer, name: str = "a", id_: str = "s1") -> Subscription:
        arguments = SUBSCRIBE.calls[0].values({"n": name})
        made = Subscription(id_, SUBSCRIBE, arguments, 0, peer.outlet)
        self.hub.add(made)
        return made

    def publish(self, data: str, name: str = "a") -> None:
        (call,) = PUBLISH.calls
        self.hub.publish(call, call.values({"n": name, "d": data}))


def test_the_window_after_start_ack_ends_to_the_nanosecond(tmp_path: Path) -> None:
    world, old, new = World(tmp_path / "lost", lose_after_start_ack_ms="50"), Peer(), Peer()
    world.subscribe(old, id_="s1")
    world.now_ns += 50_000_000
    world.subscribe(new, id_="s2")
    world.publish(encode_event(1, 2, 3, 4, 5, 90))
    world.now_ns += 49_999_999
    world.publish(encode_event(1, 2, 4, 4, 5, 90))
    world.now_ns += 1
    world.publish(encode_event(1, 2, 5, 4, 5, 90))
    assert len(old.events) == 3
    assert new.events == [encode_event(1, 2, 5, 4, 5, 90)]
    lost = [json.loads(line) for line in (tmp_path / "lost").read_text().splitlines()]
    assert [(row["why"], row["subscription"], row["stamp"]) for row in lost] == [
        ("after-start-ack", "s2", [1, 2, 3]),
        ("after-start-ack", "s2", [1, 2, 4]),
    ]


def test_each_subscriber_gets_one_write_of_one_whole_frame() -> None:
    world, peers = World(), [Peer() for _ in range(3)]
    for number, peer in enumerate(peers):
        world.subscribe(peer, id_="s" * (number + 1))
    for size in (10, 100, 70_000):
        text = json.dumps({"x": "é" * size}, ensure_ascii=False)
        world.publish(text)
        for peer in peers:
            assert peer.events[-1] == text
    assert [len(peer.frames) for peer in peers] == [3, 3, 3]


def test_a_subscription_that_ended_gets_nothing() -> None:
    world, peer = World(), Peer()
    first, second = world.subscribe(peer, id_="s1"), world.subscribe(peer, id_="s2")
    world.hub.remove(first)
    world.publish("{}")
    world.hub.remove(second)
    world.publish("{}")
    assert len(peer.frames) == 1
    with pytest.raises(KeyError):
        world.hub.remove(second)


def test_a_closed_connection_costs_the_others_nothing_and_a_slow_one_is_cut() -> None:
    world = World()
    closed, slow, well = Peer(closed=True), Peer(WRITE_BUFFER_LIMIT_BYTES + 1), Peer(WRITE_BUFFER_LIMIT_BYTES)
    for peer in (closed, slow, well):
        world.subscribe(peer)
    world.publish("{}")
    assert (closed.aborted, slow.aborted, well.aborted) == (False, True, False)
    assert well.events == ["{}"]


def test_the_number_of_losses_is_that_of_deliveries_and_not_of_events(tmp_path: Path) -> None:
    world, peers = World(tmp_path / "lost", lose_every="4"), [Peer() for _ in range(3)]
    for number, peer in enumerate(peers):
        world.subscribe(peer, id_=f"s{number}")
    for _ in range(8):
        world.publish("{}")
    assert sum(len(peer.frames) for peer in peers) == 18
    assert len((tmp_path / "lost").read_text().splitlines()) == 6
