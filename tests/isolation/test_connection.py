"""Test that a client's connection withstands unexpected messages at any moment."""

from collections import Counter
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.broken import BrokenConnections
from loadgen.measure.clock import Clock, now_ns
from loadgen.measure.failures import Failures
from loadgen.measure.undecodable import MOST_KINDS, OTHER_KINDS, Undecodable
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.base import PublishAnswer
from loadgen.protocol.unreadable import shown
from loadgen.resolve import Behaviour, ClientPlan, ReconnectPlan, SubscriptionPlan
from loadgen.transport.errors import TransportError, UnreadableError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.slow_reading import SlowReading
from loadgen.users.connection import ClientConnection
from loadgen.users.conversation import OnRequest
from loadgen.users.worker import NoLogins, Progress
from tests.isolation.corpus import event


class Socket:
    """A simulated connection that stays open until the test ends it."""

    abrupt = "closed"
    kernel_timestamps = secure = False
    remote_address = None
    violation: UnreadableError | None = None

    def __init__(self, on_closed: Callable[[int | None, str], None]) -> None:
        self.on_closed = on_closed
        #: True if the other side answers a close frame by closing, too.
        self.answers_close = True
        self.full_speed = False
        self.fast_path: object = None
        self.pings = 0
        #: `is_open` is False from the first close frame on, `there` only once the other side has hung up.
        self.is_open = self.there = False
        self.sent: list[bytes] = []

    def open(self, timeout_s: float) -> None:
        self.is_open = self.there = True

    def send(self, message: bytes) -> None:
        if not self.is_open:
            raise TransportError("closed")
        self.sent.append(message)

    def close(self) -> None:
        if self.answers_close:
            self.end(None, "")
        else:
            self.is_open = False

    def abort(self) -> None:
        self.end(None, "")

    def end(self, code: int | None, reason: str) -> None:
        """End the connection, as if the service had closed it or it had broken."""
        if self.there:
            self.is_open = self.there = False
            self.on_closed(code, reason)

    def ping(self) -> None:
        self.pings += 1

    def use_fast_path(self, fast_path: object) -> None:
        self.fast_path = fast_path

    def read_at_full_speed(self) -> None:
        self.full_speed = True

    def failed(self, error: BaseException) -> None:
        raise error


class Session:
    timeout_ns = keepalive_ns = early_delivery = None
    most_unanswered = 0
    #: The fast path.
    lane = object()

    def __init__(self, handler: Any) -> None:
        self.receive = lambda *_: None
        self.handler = handler

    def opening(self) -> list[bytes]:
        # Act as if the service had answered at once.
        self.handler.on_connected(1)
        return []

    def awaits(self) -> str:
        return ""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        return b"sub"

    def unsubscribe(self, subscription_id: str) -> bytes:
        return b"unsub"

    def publish(self, publish_id: str, channel: str, events: object) -> bytes:
        return b"pub"

    def closing(self) -> bytes:
        return b""

    def fast_path(self, rows: object, numbers: object, tokens: object) -> object:
        return self.lane


class Rows:
    """Stands in for the recorder: has only what connections use."""

    token = 7
    native_rows: object = None

    def __init__(self) -> None:
        self.unknown_subscription = self.foreign = 0
        self.undecodable = Undecodable()
        self.broken = BrokenConnections()
        self.delivered: list[int] = []
        self.subscriptions: list[Any] = []
        self.connections: list[Any] = []
        self.subscription, self.connection = self.subscriptions.append, self.connections.append
        self.slow: set[int] = set()
        self.deviations: Counter[str] = Counter()

    def deliver(self, number: int, *_: Any) -> None:
        self.delivered.append(number)


class Readiness:
    """Simulates readiness after a settle time: keeps the subscriptions' callbacks until the test calls `settle`."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[int], None]] = []

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        self.waiting.append(on_ready)

    def settle(self) -> None:
        waiting, self.waiting = self.waiting, []
        for on_ready in waiting:
            on_ready(5)

    def proven(self, channel: str) -> None:
        pass

    def withdraw(self, channel: str) -> None:
        pass

    def probed_since_ns(self, channel: str) -> None:
        return None


PLANS = (SubscriptionPlan(10, "/default/a"), SubscriptionPlan(11, "/default/b"))


class World:
    """One client, its simulated connection, and the rows that it records."""

    def __init__(
        self,
        on_delivery: Callable[[str, str], None] | None = None,
        on_ended: Callable[[ClientConnection], None] | None = None,
        clock: Clock = now_ns,
        read_bytes_per_s: float | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        #: For each connect of the client, the limit on its reading speed, or None.
        self.limits: list[SlowReading | None] = []
        self._failed: Callable[[BaseException], None]
        #: The socket of the latest connect.
        self.socket: Socket
        self.session: Session
        self.run: Any = SimpleNamespace(
            recorder=Rows(),
            stamping=Stamping(),
            readiness=Readiness(),
            progress=Progress(),
            failures=Failures(),
            address=None,
            report_error=lambda reason, fatal: None,
            service=SimpleNamespace(
                session=self._session,
                handshake=lambda channels: None,
                answers_opening=True,
                answers_publishes=True,
                answers_subscribes=True,
                shown=shown,
            ),
        )
        self.run.logins = NoLogins(self.run.service)
        plan = Behaviour(ReconnectPlan(1, 1, False, True, "s"), read_bytes_per_s=read_bytes_per_s)
        self.client = ClientConnection(
            self.run,
            ClientPlan(1, "g", 1, PLANS, None, 0, plan),
            on_delivery,
            on_ended,
            self._connect,
            clock,
            on_request,
        )

    def _session(self, handler: Any, name: str) -> Any:
        self.session = Session(handler)
        return self.session

    def _connect(
        self,
        address: object,
        handshake: object,
        receive: object,
        on_closed: Callable[[int | None, str], None],
        on_failed: Callable[[BaseException], None],
        slow: SlowReading | None,
    ) -> Any:
        self.socket, self._failed = Socket(on_closed), on_failed
        self.limits.append(slow)
        return self.socket

    def fail(self, error: BaseException) -> None:
        """Do what a connection does if one of its callbacks raises an error."""
        self._failed(error)
        self.socket.end(None, str(error))

    @property
    def said(self) -> Any:
        """The `SessionHandler` of the latest connect; a test calls it to simulate messages of the service."""
        return self.session.handler

    @property
    def rows(self) -> Rows:
        rows: Rows = self.run.recorder
        return rows

    def open(self) -> None:
        self.client.open(1)

    def ready(self) -> None:
        for each in PLANS:
            self.said.on_subscribed(f"s{each.number}", 2)
        self.run.readiness.settle()

    def gauges(self) -> tuple[int, int, int]:
        progress = self.run.progress
        return progress.connected, progress.acknowledged, progress.ready


def test_what_is_of_nobody_changes_nothing_but_counts() -> None:
    world = World(lambda channel, event: None)
    world.open()
    world.ready()
    before = world.gauges(), len(world.rows.subscriptions)
    for unknown in ("", "s12", "s10-1", "\x00"):
        world.said.on_subscribed(unknown, 3)
        world.said.on_subscribe_failed(unknown, "no")
        world.said.on_published(unknown, PublishAnswer(), 3)
        world.said.on_event(unknown, event(), 3, 4)
    world.said.on_connected(9)
    assert (world.gauges(), len(world.rows.subscriptions)) == before
    assert world.rows.unknown_subscription == 4
    assert world.rows.delivered == []


def test_a_delivery_under_the_id_that_was_just_given_up_is_one_of_its_subscription() -> None:
    seen: list[str] = []
    world = World(lambda channel, text: seen.append(channel))
    world.open()
    world.ready()
    again = world.client.unsubscribe(PLANS[1])
    assert again is not None
    world.said.on_event("s11", event(), 3, 4)
    again()
    world.said.on_event("s11", event(), 3, 4)
    world.said.on_subscribed("s11-1", 5)
    world.said.on_event("s11-1", event(), 5, 6)
    assert seen == ["/default/b"] * 3
    assert world.rows.delivered == [11, 11, 11]
    assert world.rows.unknown_subscription == 0


def test_after_the_end_nothing_becomes_ready() -> None:
    world = World()
    world.open()
    world.said.on_subscribed("s10", 2)
    world.client.abort()
    assert world.gauges() == (0, 0, 0)
    rows = len(world.rows.subscriptions)
    # The connection has ended, but the settle time ends and earlier messages are processed only now.
    world.run.readiness.settle()
    world.said.on_connected(3)
    world.said.on_subscribed("s11", 3)
    world.said.on_subscribe_failed("s11", "no")
    assert world.gauges() == (0, 0, 0)
    assert len(world.rows.subscriptions) == rows
    assert world.rows.subscriptions[-1].ended_ns is not None


def test_an_attempt_that_fails_half_way_leaves_nothing_to_the_next() -> None:
    world = World()
    first: list[Any] = []

    def closing(self: Socket, message: bytes) -> None:
        # The service has sent a close frame but has not hung up yet.
        first.append(self)
        self.is_open = False
        raise TransportError("the connection is closed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Socket, "send", closing)
        with pytest.raises(TransportError):
            world.open()
    assert not first[0].there
    world.open()
    world.ready()
    first[0].abort()
    assert world.gauges() == (1, 2, 2)
    assert world.client.has_socket


def test_an_error_of_ours_in_connecting_is_a_failure_and_an_attempt() -> None:
    world = World()

    def broken(subscription_id: str, channel: str) -> bytes:
        raise KeyError(channel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "subscribe", lambda self, *a: broken(*a))
        with pytest.raises(OurFailureError, match="the harness failed: KeyError"):
            world.open()
    assert world.client.ended.is_set()
    assert world.gauges() == (0, 0, 0)
    (failure,) = world.run.failures.to_list()
    assert failure["kind"] == "harness"
    # Both subscriptions are recorded as unobserved because the harness failed, also the one that was never requested.
    assert {(row.subscription, row.intent) for row in world.rows.subscriptions} == {
        (10, "harness failure"),
        (11, "harness failure"),
    }
    world.open()
    world.ready()
    assert world.gauges() == (1, 2, 2)


STEPS = ("event", "subscribed", "failed", "published", "connected", "refused", "error", "settle", "unsubscribe",
         "again", "abort", "cut", "open", "publish", "undecodable", "broken")  # fmt: skip


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_whenever_gauges_are_right_and_nothing_is_raised(seed: int) -> None:
    random = Random(seed)
    told: list[str] = []
    world = World((lambda channel, text: told.append(channel)) if random.random() < 0.5 else None)
    world.open()
    client, agains = world.client, []
    ids = [*(f"s{n}{turn}" for n in (10, 11, 12) for turn in ("", "-1", "-2")), "p1", ""]
    for _ in range(random.randrange(40)):
        some = random.choice(ids)
        match random.choice(STEPS):
            case "event":
                world.said.on_event(
                    some, random.choice((event(), "no json", event(token=8), '{"_lg":[1]}')), 3, 4
                )
            case "subscribed":
                world.said.on_subscribed(some, 3)
            case "failed":
                world.said.on_subscribe_failed(some, "no")
            case "published":
                world.said.on_published(some, PublishAnswer(), 3)
            case "connected":
                world.said.on_connected(3)
            case "refused":
                world.said.on_refused("no")
            case "error":
                world.said.on_service_error("slow down")
            case "settle":
                world.run.readiness.settle()
            case "unsubscribe":
                agains.append(client.unsubscribe(random.choice(PLANS)))
            case "again" if agains and (again := agains.pop()) is not None:
                again()
            case "abort" if client.has_socket:
                world.socket.abort()
            case "cut":
                client.cut("drop 1", with_close_frame=False)
            case "open" if client.ended.is_set():
                world.open()
            case "publish" if client.has_socket:
                client.publish("p1", "/default/a", [event()], lambda answer, at_ns: None)
            case "undecodable":
                world.said.on_undecodable("a kind", lambda: "x")
            case "broken":
                world.said.on_broken("no sense")
        assert min(world.gauges()) >= 0
    client.abort()
    assert world.gauges() == (0, 0, 0)
    assert len(world.run.failures) == 0
    last = {(row.subscription, row.life, row.turn): row for row in world.rows.subscriptions}
    assert all(row.ended_ns is not None for row in last.values())


def test_kinds_are_bounded_and_examples_are_made_once() -> None:
    made: list[int] = []
    undecodable = Undecodable()

    def example() -> str:
        made.append(1)
        return "x"

    for number in range(100):
        undecodable.add(f"kind {number}", example)
        undecodable.add("kind 0", example)
    kinds = undecodable.to_list()
    assert undecodable.count == sum(kind["count"] for kind in kinds) == 200
    assert len(kinds) == MOST_KINDS + 1 == len(made)
    assert kinds[-1] == {"kind": OTHER_KINDS, "count": 100 - MOST_KINDS, "example": "x"}
