"""Test a client's connection in each state, and each way in which it ends, with a simulated socket."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from loadgen.protocol.base import PING, PublishAnswer
from loadgen.protocol.refusals import Refusal
from loadgen.resolve import SubscriptionPlan
from loadgen.transport.errors import HandshakeRefusedError, TransportError, UnreadableError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.resolving import DialingError
from loadgen.users.connection import ClientConnection
from loadgen.users.deliveries import DELIVERY_UNASKED
from tests.isolation.corpus import event
from tests.isolation.test_connection import PLANS, Session, Socket, World


class Clock:
    """A clock that advances by one nanosecond at each reading."""

    def __init__(self) -> None:
        self.at_ns = 1_000

    def __call__(self) -> int:
        self.at_ns += 1
        return self.at_ns


def world(**given: Any) -> World:
    return World(clock=Clock(), **given)


def opened() -> World:
    made = world()
    made.open()
    made.ready()
    return made


def silent_opening(
    patch: pytest.MonkeyPatch, then: Callable[[Session], object] = lambda session: None
) -> None:
    """Let each session send a login; the service's only answer is the calls that ``then`` makes on the session."""

    def opening(self: Session) -> list[bytes]:
        then(self)
        return [b"login"]

    patch.setattr(Session, "opening", opening)


# Connecting.


def test_a_new_connection_has_ended_and_can_do_nothing() -> None:
    client = world().client
    assert (client.life, client.intent, client.has_socket, client.remote_address) == (-1, None, False, None)
    assert client.ended.is_set()
    assert client.most_unanswered == 0
    assert client.unsubscribe(PLANS[0]) is None
    assert not client.cut("leave", with_close_frame=True)
    with pytest.raises(TransportError, match="the connection is closed"):
        client.publish("p1", "/default/a", ["{}"], lambda answer, at_ns: None)
    with pytest.raises(TransportError, match="the connection is closed"):
        client.subscribe(PLANS[0])
    client.close()
    client.abort()
    assert client.ended.is_set()


def test_times_of_a_life_come_from_the_clock_that_was_given() -> None:
    of = opened()
    of.client.abort()
    row = of.rows.connections[-1]
    assert 1_000 < row.started_ns < row.opened_ns < row.closed_ns < 1_100
    assert row.acknowledged_ns == 1
    assert all(row.started_ns < each.requested_ns < row.closed_ns for each in of.rows.subscriptions)
    assert [each.ended_ns for each in of.rows.subscriptions[-2:]] == [row.closed_ns] * 2


@pytest.mark.parametrize("ours", [False, True])
def test_a_service_that_cannot_be_reached_leaves_a_row_and_no_connection(
    ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(self: Socket, timeout_s: float) -> None:
        raise DialingError("cannot be resolved") if ours else TransportError("connection refused")

    monkeypatch.setattr(Socket, "open", unreachable)
    of = world()
    with pytest.raises(TransportError):
        of.open()
    assert not of.client.has_socket
    assert of.client.ended.is_set()
    assert (of.run.progress.opened, of.run.progress.lost_connections) == (0, 0)
    (row,) = of.rows.connections
    assert row.opened_ns is None
    assert row.closed_ns is not None
    # If the harness failed, the subscriptions are recorded as not observed. If the service refused the connection,
    # they are not recorded, since they were never requested.
    assert (row.intent, row.error) == (("harness failure", None) if ours else (None, "connection refused"))
    assert len(of.rows.subscriptions) == (2 if ours else 0)


def test_no_answer_to_the_login_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    silent_opening(monkeypatch)
    monkeypatch.setattr(Session, "awaits", lambda self: "connection_ack did not come")
    of = world()
    with pytest.raises(
        TransportError, match=r"no answer to the login within 0\.01 s; connection_ack did not come"
    ) as caught:
        of.client.open(0.01)
    assert type(caught.value) is TransportError, "so that it is tried again"
    assert of.socket.sent == [b"login"]
    assert of.gauges() == (0, 0, 0)
    # An acceptance that comes too late has no effect.
    of.said.on_connected(5)
    assert of.gauges() == (0, 0, 0)
    assert [row.acknowledged_ns for row in of.rows.connections] == [None]


def test_a_refused_login_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    silent_opening(monkeypatch, lambda session: session.handler.on_refused("denied", Refusal.of(403)))
    of = world()
    with pytest.raises(HandshakeRefusedError, match="denied"):
        of.open()
    assert not of.socket.there
    assert of.client.ended.is_set()
    assert (of.run.progress.opened, of.gauges()) == (1, (0, 0, 0))
    (row,) = of.rows.connections
    assert (row.error, row.refusal, row.acknowledged_ns) == ("denied", "denied", None)


def test_a_connection_that_ends_while_its_login_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    of = world()
    silent_opening(monkeypatch, lambda session: gevent.spawn(of.socket.end, 1008, "go away"))
    with pytest.raises(TransportError, match="closed with code 1008: go away"):
        of.open()
    (row,) = of.rows.connections
    assert (row.close_code, row.acknowledged_ns) == (1008, None)
    assert of.run.progress.lost_connections == 0, "it was none yet"


def test_an_acceptance_may_come_before_the_login_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    of = world()

    def open_it(self: Socket, timeout_s: float) -> None:
        self.is_open = self.there = True
        of.said.on_connected(7)

    monkeypatch.setattr(Socket, "open", open_it)
    silent_opening(monkeypatch)
    of.open()
    assert of.run.progress.connected == 1
    assert of.rows.connections[-1].acknowledged_ns == 7


def test_where_the_upgrade_is_the_acceptance_nothing_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    silent_opening(monkeypatch)
    of = world()
    of.run.service.answers_opening = False
    of.open()
    row = of.rows.connections[-1]
    assert row.acknowledged_ns == row.opened_ns


# Subscribing.


@pytest.mark.parametrize("after", [0, 1])
def test_a_connection_that_drops_while_subscribing_fails_the_attempt(
    after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[ClientConnection] = []
    of = world(on_ended=ended.append)
    asked: list[str] = []

    def subscribe(self: Session, subscription_id: str, channel: str) -> bytes:
        asked.append(subscription_id)
        if len(asked) > after:
            of.socket.end(None, "reset by peer")
        return b"sub"

    monkeypatch.setattr(Session, "subscribe", subscribe)
    with pytest.raises(TransportError):
        of.open()
    assert of.client.ended.is_set()
    assert ended == [], "who has called open() knows it already"
    assert of.gauges() == (0, 0, 0)
    assert of.run.progress.lost_connections == 1
    rows = of.rows.subscriptions
    # Only subscriptions that the client had requested are recorded as ended. The others had not begun.
    assert [row.subscription for row in rows if row.ended_ns is not None] == [10, 11][: after + 1]
    assert of.rows.connections[-1].error == "closed: reset by peer"


def test_a_subscription_beside_the_plans_is_one_like_the_others() -> None:
    of, more = opened(), SubscriptionPlan(12, "/default/c")
    seen: list[str] = []
    of = world(on_delivery=lambda channel, text: seen.append(channel))
    of.open()
    of.ready()
    of.client.subscribe(more)
    of.said.on_subscribed("s12", 9)
    of.said.on_event("s12", event(), 10, 11)
    assert of.gauges() == (1, 3, 3)
    assert of.rows.delivered == [12]
    assert seen == ["/default/c"]
    again = of.client.unsubscribe(more)
    assert again is not None
    again()
    of.client.abort()
    assert [
        (row.turn, row.channel) for row in of.rows.subscriptions if row.subscription == 12 and row.ended_ns
    ] == [
        (0, "/default/c"),
        (1, "/default/c"),
    ]
    with pytest.raises(TransportError):
        of.client.subscribe(more)


def test_a_client_that_reads_slowly_is_known_to_the_recorder_by_its_subscriptions() -> None:
    of = world(read_bytes_per_s=1_000.0)
    of.open()
    assert of.limits[-1] is not None
    assert of.rows.slow == {10, 11}
    assert of.rows.connections[-1].slow
    of.client.close()
    assert of.socket.full_speed, "the answer to the close frame comes after what was not read"
    assert world().limits == []
    fast = opened()
    assert (fast.limits, fast.rows.slow) == ([None], set())


# The following tests are about an open connection.


def test_deliveries_are_examined_until_all_is_ready_then_only_for_a_user() -> None:
    of = world()
    of.rows.native_rows = object()
    of.open()
    of.said.on_subscribed("s10", 2)
    of.said.on_subscribed("s11", 2)
    assert of.socket.fast_path is None
    of.run.readiness.settle()
    assert of.socket.fast_path is Session.lane
    again = of.client.unsubscribe(PLANS[0])
    assert again is not None
    assert of.socket.fast_path is Session.lane
    again()
    assert of.socket.fast_path is None, "its first event makes it ready, and so must be seen"
    watched = world(on_delivery=lambda channel, text: None)
    watched.rows.native_rows = object()
    watched.open()
    watched.ready()
    assert watched.socket.fast_path is None


def test_a_client_that_replies_is_given_the_runs_own_events_and_never_a_fast_path() -> None:
    asked: list[tuple[int, str, int, int]] = []
    of = world(on_request=lambda number, text, at_ns, stamp: asked.append((number, text, at_ns, stamp[1])))
    of.rows.native_rows = object()
    of.open()
    of.ready()
    assert of.socket.fast_path is None
    asked.clear()
    own = event()
    of.said.on_event("s10", own, 3, 4)
    of.said.on_event("s11", event(token=8), 5, 6)
    of.said.on_event("s11", own.replace("[7,1,", "[7,-1,"), 5, 6)
    of.said.on_event("s11", "no JSON", 5, 6)
    of.said.on_event("s99", own, 5, 6)
    assert [(number, text, at_ns) for number, text, at_ns, _ in asked] == [(10, own, 3)]


def test_events_of_nobody_and_of_others_are_told_apart() -> None:
    of = opened()
    of.said.on_event("s10", "no JSON", 3, 4)
    of.said.on_event("s99", "no JSON", 3, 4)
    of.said.on_event("s99", event(), 3, 4)
    assert (of.rows.foreign, of.rows.unknown_subscription) == (2, 1)
    assert of.rows.deviations == {DELIVERY_UNASKED: 2}


@pytest.mark.parametrize("ping", [False, True])
def test_a_connection_is_kept_alive_until_it_ends(ping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "keepalive_ns", 2_000_000)
    monkeypatch.setattr(Session, "keepalive", lambda self: PING if ping else b"alive", raising=False)
    of = opened()

    def sent() -> int:
        return of.socket.pings if ping else of.socket.sent.count(b"alive")

    with gevent.Timeout(60):
        while sent() < 3:
            gevent.sleep(0.001)
    of.client.abort()
    before = sent()
    gevent.sleep(0.02)
    assert sent() == before


def test_a_publish_is_answered_once_or_lost_with_the_connection() -> None:
    of = opened()
    told: list[tuple[str, Any, int]] = []

    def publish(name: str) -> None:
        of.client.publish(
            name, "/default/a", ["{}"], lambda answer, at_ns: told.append((name, answer, at_ns))
        )

    publish("p1")
    publish("p2")
    answer = PublishAnswer()
    of.said.on_published("p1", answer, 77)
    of.said.on_published("p1", answer, 78)
    assert told == [("p1", answer, 77)]
    of.socket.end(None, "")
    assert told[1:] == [("p2", None, of.rows.connections[-1].closed_ns)]
    of.said.on_published("p2", answer, 99)
    with pytest.raises(TransportError):
        publish("p3")
    assert len(told) == 2


def test_a_publish_that_cannot_be_sent_is_not_awaited() -> None:
    of = opened()
    told: list[Any] = []
    of.socket.is_open = False
    with pytest.raises(TransportError):
        of.client.publish("p1", "/default/a", ["{}"], lambda *answer: told.append(answer))
    of.socket.end(None, "")
    assert told == []


def test_of_a_service_that_answers_no_publish_nothing_is_awaited() -> None:
    of = opened()
    of.run.service.answers_publishes = False
    told: list[PublishAnswer | None] = []
    of.client.publish("p1", "/default/a", ["{}"], lambda answer, at_ns: told.append(answer))
    of.socket.end(None, "")
    assert [answer is not None and answer.acknowledged for answer in told] == [False]


def test_a_sender_that_fails_at_a_lost_publish_keeps_it_from_no_other() -> None:
    of = opened()
    told: list[str] = []

    def raising(answer: PublishAnswer | None, at_ns: int) -> None:
        raise KeyError("p1")

    of.client.publish("p1", "/default/a", ["{}"], raising)
    of.client.publish("p2", "/default/a", ["{}"], lambda answer, at_ns: told.append("p2"))
    of.socket.end(None, "")
    assert told == ["p2"]
    assert of.client.ended.is_set()
    assert [failure["message"] for failure in of.run.failures.to_list()] == ["KeyError: 'p1'"]


# The end.


def test_a_server_that_closes_is_lost_and_told_of_once() -> None:
    ended: list[ClientConnection] = []
    of = world(on_ended=ended.append)
    of.open()
    of.ready()
    of.socket.end(1001, "going away")
    assert ended == [of.client]
    assert of.client.intent is None
    row = of.rows.connections[-1]
    assert (row.close_code, row.error, row.intent) == (1001, "closed with code 1001: going away", None)
    assert of.run.progress.lost_connections == 1
    assert of.gauges() == (0, 0, 0)
    assert {each.ended_ns for each in of.rows.subscriptions[-2:]} == {row.closed_ns}


def test_the_services_last_words_are_why_it_ended() -> None:
    of = opened()
    of.said.on_service_error("UnsupportedOperation")
    of.socket.end(None, "")
    assert of.rows.connections[-1].error == "UnsupportedOperation"


def test_a_frame_that_no_service_may_send_is_why_it_ended_and_is_counted_as_unreadable() -> None:
    of = opened()
    of.socket.violation = UnreadableError("the server broke the WebSocket protocol: opcode 5")
    of.socket.end(1002, "")
    assert of.rows.connections[-1].error == "the server broke the WebSocket protocol: opcode 5"
    ((kind),) = of.rows.undecodable.to_list()
    assert kind["example"] == "the server broke the WebSocket protocol: opcode 5"
    assert of.run.progress.lost_connections == 1


def test_a_stream_of_which_nothing_can_be_understood_any_more_is_closed() -> None:
    of = opened()
    of.said.on_broken("no packet begins so")
    assert not of.client.has_socket
    assert of.rows.connections[-1].error == "no packet begins so"


@pytest.mark.parametrize("with_close_frame", [True, False])
def test_a_cut_is_the_clients_own_and_calls_for_the_next_life(with_close_frame: bool) -> None:
    ended: list[str | None] = []
    of = world(on_ended=lambda client: ended.append(client.intent))
    of.open()
    of.ready()
    assert of.client.cut("drop 1", with_close_frame)
    assert ended == ["drop 1"]
    assert not of.client.cut("drop 1", with_close_frame), "there is no life to end"
    row = of.rows.connections[-1]
    assert (row.intent, row.error) == ("drop 1", None)
    assert {each.intent for each in of.rows.subscriptions[-2:]} == {"drop 1"}
    assert of.run.progress.lost_connections == 0


def test_after_a_cut_that_is_not_answered_yet_nothing_is_given_up() -> None:
    of = opened()
    of.socket.answers_close = False
    assert of.client.cut("leave", with_close_frame=True)
    assert of.client.unsubscribe(PLANS[0]) is None
    assert of.client.has_socket
    of.socket.end(1000, "")
    assert of.rows.connections[-1].intent == "leave"


def test_a_drain_takes_what_still_comes_and_ends_when_the_service_has_closed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[ClientConnection] = []
    monkeypatch.setattr(Session, "closing", lambda self: b"bye")
    of = world(on_ended=ended.append)
    of.open()
    of.ready()
    of.socket.answers_close = False
    of.client.close()
    assert of.socket.sent[-1] == b"bye"
    assert not of.client.ended.is_set()
    of.said.on_event("s10", event(), 3, 4)
    assert of.rows.delivered == [10]
    of.socket.end(1000, "")
    assert of.client.ended.is_set()
    row = of.rows.connections[-1]
    assert (row.close_code, row.error, row.intent) == (1000, None, None)
    assert of.run.progress.lost_connections == 0
    assert ended == [], "it was closed for good"


def test_a_close_that_is_not_answered_is_followed_by_an_abort() -> None:
    of = opened()
    of.socket.answers_close = False
    of.client.close()
    of.client.abort()
    assert of.client.ended.is_set()
    assert of.rows.connections[-1].error is None


def test_nothing_is_asked_again_while_the_client_closes() -> None:
    of = opened()
    of.socket.answers_close = False
    again = of.client.unsubscribe(PLANS[0])
    assert again is not None
    of.client.close()
    before = len(of.socket.sent)
    again()
    assert len(of.socket.sent) == before


def test_a_failure_of_ours_ends_a_life_as_such() -> None:
    of = opened()
    of.fail(KeyError("x"))
    row = of.rows.connections[-1]
    assert (row.intent, row.error) == ("harness failure", None)
    assert [failure["kind"] for failure in of.run.failures.to_list()] == ["harness"]
    assert of.run.progress.lost_connections == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_is_no_failure_and_what_was_being_read_is_not_observed(error: BaseException) -> None:
    of = opened()
    of.fail(error)
    assert of.rows.connections[-1].intent == "harness failure"
    assert of.run.failures.to_list() == []
    assert of.client.ended.is_set()


def test_a_failure_of_ours_while_the_client_closes_changes_nothing_of_its_end() -> None:
    of = opened()
    of.socket.answers_close = False
    of.client.close()
    of.fail(KeyError("x"))
    assert of.rows.connections[-1].intent is None


@pytest.mark.parametrize("at", ["handshake", "session"])
def test_a_failure_of_ours_before_there_is_a_socket_is_one_and_the_next_life_is_another(at: str) -> None:
    of = opened()
    of.client.abort()

    def broken(*_: Any) -> None:
        raise ValueError("no key")

    good = getattr(of.run.service, at)
    setattr(of.run.service, at, broken)
    with pytest.raises(OurFailureError, match="no key"):
        of.open()
    assert of.client.ended.is_set()
    assert (of.client.has_socket, of.client.life, of.client.intent) == (False, 1, "harness failure")
    setattr(of.run.service, at, good)
    of.open()
    assert of.client.life == 2


# The following tests are about a client that connects again. Each of its connections is a life.


def test_nothing_of_one_life_reaches_the_next() -> None:
    of = opened()
    first, first_socket = of.said, of.socket
    again = of.client.unsubscribe(PLANS[0])
    assert again is not None
    of.socket.end(None, "")
    of.open()
    of.ready()
    before = of.gauges(), len(of.rows.subscriptions), len(of.rows.connections), list(of.socket.sent)
    again()
    first.on_connected(1)
    first.on_subscribed("s10", 1)
    first.on_subscribe_failed("s10", "no", Refusal.of(429))
    first.on_refused("no")
    first.on_broken("no sense")
    first.on_reply(b"pong")
    first_socket.end(1000, "")
    after = of.gauges(), len(of.rows.subscriptions), len(of.rows.connections), list(of.socket.sent)
    assert after == before
    assert of.client.has_socket
    assert not of.client.ended.is_set()
    of.client.abort()
    assert of.rows.connections[-1].error is None
    assert of.rows.connections[-1].refusal is None


def test_a_life_that_ends_late_does_not_end_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[ClientConnection] = []
    of = world(on_ended=ended.append)
    with pytest.MonkeyPatch.context() as patch:
        # This socket stays open although it is told to abort, and reports its end later.
        patch.setattr(Socket, "abort", lambda self: None)
        patch.setattr(Session, "subscribe", lambda self, *_: 1 / 0)
        with pytest.raises(OurFailureError):
            of.open()
    late = of.socket
    of.open()
    of.ready()
    late.end(None, "")
    assert not of.client.ended.is_set()
    assert of.client.has_socket
    assert ended == []
    assert of.gauges() == (1, 2, 2)


def test_a_socket_is_not_kept_once_its_connection_has_ended() -> None:
    of = opened()
    freed: list[str] = []
    weakref.finalize(of.socket, freed.append, "socket")
    of.run.readiness.waiting.clear()
    gc.disable()
    try:
        of.socket.end(None, "")
        del of.socket
        # The socket is freed without a garbage collection, which may come late: its TLS state is large.
        assert freed == ["socket"]
    finally:
        gc.enable()
