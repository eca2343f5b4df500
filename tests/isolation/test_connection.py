"""A service may say anything at any time: what a client's connection makes of messages that nobody waited for."""

from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.failures import Failures
from loadgen.measure.rows import AlteredRow
from loadgen.measure.undecodable import MOST_KINDS, OTHER_KINDS, Undecodable
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Marked, Stamping
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import Behaviour, ClientPlan, ReconnectPlan, SubscriptionPlan
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.users import connection as module
from loadgen.users.connection import ClientConnection
from loadgen.users.worker import Progress
from tests.isolation.corpus import event


class Socket:
    """A connection that is open until it is told otherwise."""

    abrupt = "closed"
    kernel_timestamps = secure = False
    remote_address = None
    violation = None

    def __init__(self, on_closed: Callable[[int | None, str], None]) -> None:
        self.on_closed = on_closed
        #: Not so from the first close frame on; there until the other side has hung up.
        self.is_open = self.there = False
        self.sent: list[bytes] = []

    def open(self, timeout_s: float) -> None:
        self.is_open = self.there = True

    def send(self, message: bytes) -> None:
        if not self.is_open:
            raise TransportError("closed")
        self.sent.append(message)

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self.there:
            self.is_open = self.there = False
            self.on_closed(None, "")

    def use_fast_path(self, fast_path: object) -> None:
        pass

    def failed(self, error: BaseException) -> None:
        raise error


class Session:
    timeout_ns = keepalive_ns = early_delivery = None
    most_unanswered = 0

    def __init__(self, handler: Any) -> None:
        self.receive = lambda *_: None
        self.handler = handler

    def opening(self) -> list[bytes]:
        # As if it had answered at once.
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

    def fast_path(self, rows: object, numbers: object) -> None:
        return None


class Rows:
    """A recorder as far as connections need one."""

    token, native_rows = 7, None

    def __init__(self) -> None:
        self.unknown_subscription = self.foreign = 0
        self.undecodable = Undecodable()
        self.delivered: list[int] = []
        self.subscriptions: list[Any] = []
        self.connections: list[Any] = []
        self.subscription, self.connection = self.subscriptions.append, self.connections.append
        self.slow: set[int] = set()
        self.deviations: Counter[str] = Counter()

    def deliver(self, number: int, *_: Any) -> None:
        self.delivered.append(number)


class Readiness:
    """Keeps whom to call, as the settle time does."""

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


REMAINS = Behaviour(ReconnectPlan(1, 1, False, True, "s"))


class World:
    """One client, and what it is told."""

    def __init__(self, on_delivery: Callable[[str, str], None] | None = None) -> None:
        self.run: Any = SimpleNamespace(
            recorder=Rows(),
            stamping=Stamping(),
            readiness=Readiness(),
            progress=Progress(),
            failures=Failures(),
            address=None,
            report_error=lambda reason, fatal: None,
            service=SimpleNamespace(
                session=lambda handler, name: Session(handler),
                handshake=lambda channels: None,
                answers_opening=True,
                answers_publishes=True,
                answers_subscribes=True,
            ),
        )
        self.client = ClientConnection(self.run, ClientPlan(1, "g", 1, PLANS, None, 0, REMAINS), on_delivery)

    @property
    def rows(self) -> Rows:
        rows: Rows = self.run.recorder
        return rows

    def open(self) -> None:
        self.client.open(1)

    def ready(self) -> None:
        for each in PLANS:
            self.client.on_subscribed(f"s{each.number}", 2)
        self.run.readiness.settle()

    def gauges(self) -> tuple[int, int, int]:
        progress = self.run.progress
        return progress.connected, progress.acknowledged, progress.ready


@pytest.fixture(autouse=True)
def _sockets() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "connection_to", lambda address, handshake, receive, closed, failed: Socket(closed)
        )
        yield


def test_what_is_of_nobody_changes_nothing_but_counts() -> None:
    world = World(lambda channel, event: None)
    world.open()
    world.ready()
    before = world.gauges(), len(world.rows.subscriptions)
    client = world.client
    for unknown in ("", "s12", "s10-1", "\x00"):
        client.on_subscribed(unknown, 3)
        client.on_subscribe_failed(unknown, "no")
        client.on_published(unknown, PublishAnswer(), 3)
        client.on_event(unknown, event(), 3, 4)
    client.on_connected(9)
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
    world.client.on_event("s11", event(), 3, 4)
    again()
    world.client.on_event("s11", event(), 3, 4)
    world.client.on_subscribed("s11-1", 5)
    world.client.on_event("s11-1", event(), 5, 6)
    assert seen == ["/default/b"] * 3
    assert world.rows.delivered == [11, 11, 11]
    assert world.rows.unknown_subscription == 0


def test_after_the_end_nothing_becomes_ready() -> None:
    world = World()
    world.open()
    world.client.on_subscribed("s10", 2)
    world.client.abort()
    assert world.gauges() == (0, 0, 0)
    rows = len(world.rows.subscriptions)
    # The settle time is over, and late messages are gone through.
    world.run.readiness.settle()
    world.client.on_connected(3)
    world.client.on_subscribed("s11", 3)
    world.client.on_subscribe_failed("s11", "no")
    assert world.gauges() == (0, 0, 0)
    assert len(world.rows.subscriptions) == rows
    assert world.rows.subscriptions[-1].ended_ns is not None


def test_an_attempt_that_fails_half_way_leaves_nothing_to_the_next() -> None:
    world = World()
    first: list[Any] = []

    def closing(self: Socket, message: bytes) -> None:
        # The service has sent a close frame and not hung up yet.
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
    assert world.client._socket is not None


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
    # Of each subscription it is on record that it was not observed because of us, asked for or not.
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
                client.on_event(
                    some, random.choice((event(), "no json", event(token=8), '{"_lg":[1]}')), 3, 4
                )
            case "subscribed":
                client.on_subscribed(some, 3)
            case "failed":
                client.on_subscribe_failed(some, "no")
            case "published":
                client.on_published(some, PublishAnswer(), 3)
            case "connected":
                client.on_connected(3)
            case "refused":
                client.on_refused("no")
            case "error":
                client.on_service_error("slow down")
            case "settle":
                world.run.readiness.settle()
            case "unsubscribe":
                agains.append(client.unsubscribe(random.choice(PLANS)))
            case "again" if agains and (again := agains.pop()) is not None:
                again()
            case "abort" if client._socket is not None:
                client._socket.abort()
            case "cut":
                client.cut("drop 1", with_close_frame=False)
            case "open" if client.ended.is_set():
                world.open()
            case "publish" if client._socket is not None:
                client.publish("p1", "/default/a", [event()], lambda answer, at_ns: None)
            case "undecodable":
                client.on_undecodable("a kind", lambda: "x")
            case "broken":
                client.on_broken("no sense")
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


def test_stamps_elsewhere_are_read_and_altered_events_are_recorded_beside_their_deliveries() -> None:
    world = World()
    stamps = Stamps(Place("pointer", "/meta/trace"), integrity=True)
    world.run.stamping = stamping = Stamping(stamps)
    altered: list[AlteredRow] = []
    world.run.recorder.altered = altered.append
    world.client = ClientConnection(world.run, ClientPlan(1, "g", 1, PLANS, None, 0, REMAINS))
    world.open()
    world.ready()
    body = stamping.padded(1, '"text":"hello"')
    whole = str(stamping.event(7, 3, 12, 1, 2, body))
    on_event = world.client.on_event
    on_event("s10", whole, 5, 6)
    on_event("s10", whole.replace("hello", "hallo"), 7, 8)
    # Of another run: its deliveries are counted as foreign when they are written.
    on_event("s10", str(stamping.event(8, 3, 12, 1, 2, body)).replace("hello", "hallo"), 9, 9)
    assert world.rows.delivered == [10, 10, 10]
    assert altered == [AlteredRow(10, 3, 12, 7)]
    for foreign in ("", "{", "[]", '{"meta": {}}', '{"_lg":[7,3,12,1,2]}', '{"meta":{"trace":[7,3,12,1,2]}}'):
        on_event("s10", foreign, 5, 6)
    assert (world.rows.foreign, len(world.rows.delivered)) == (6, 3)
    on_event("s99", whole, 5, 6)
    assert world.rows.unknown_subscription == 1


def test_stamps_beside_events_are_read_and_events_without_one_are_foreign() -> None:
    seen: list[tuple[str, str]] = []
    world = World()
    world.run.stamping = stamping = Stamping(Stamps(Place("header", "Lg"), integrity=True))
    altered: list[AlteredRow] = []
    world.run.recorder.altered = altered.append
    plan = ClientPlan(1, "g", 1, PLANS, None, 0, REMAINS)
    world.client = ClientConnection(world.run, plan, lambda channel, event: seen.append((channel, event)))
    world.open()
    world.ready()
    event = stamping.event(7, 3, 12, 1, 2, stamping.content(b"\xffx"))
    assert isinstance(event, Marked)
    world.client.on_marked("s10", event, 5, 6)
    world.client.on_marked("s11", event._replace(body=b"y"), 5, 6)
    world.client.on_marked("s10", event._replace(stamp=""), 5, 6)
    world.client.on_event("s10", "[7,3,12,1,2]", 5, 6)
    assert world.rows.delivered == [10, 11]
    assert altered == [AlteredRow(11, 3, 12, 5)]
    assert world.rows.foreign == 2
    assert seen == [("/default/a", "\ufffdx"), ("/default/b", "y")]
