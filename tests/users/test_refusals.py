"""Test that clients retry after temporary refusals, and report permanent refusals and missing answers."""

from typing import Any

import gevent
import pytest

from loadgen.protocol.refusals import Refusal
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.users.deliveries import DELIVERY_UNASKED
from tests.isolation.test_connection import PLANS, Session, Socket, World

LATER, NEVER = Refusal.of(429), Refusal.of(403)


def world_with_complaints() -> tuple[World, list[tuple[str, bool]]]:
    world, told = World(), []
    world.run.report_error = lambda reason, fatal: told.append((reason, fatal))
    return world, told


@pytest.mark.parametrize(
    ("refusal", "kind"), [(LATER, NotNowError), (NEVER, HandshakeRefusedError), (None, HandshakeRefusedError)]
)
def test_a_refused_login_is_for_now_or_for_good(refusal: Refusal | None, kind: type[TransportError]) -> None:
    world, _ = world_with_complaints()

    def opening(self: Session) -> list[bytes]:
        self.handler.on_refused("LimitExceededError: too fast", refusal)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "opening", opening)
        with pytest.raises(TransportError) as caught:
            world.open()
    assert type(caught.value) is kind
    assert caught.value.refusal is refusal
    (row,) = world.rows.connections
    assert row.error == "LimitExceededError: too fast"
    assert row.refusal == (None if refusal is None else refusal.kind.value)
    assert world.run.progress.throttled == (1 if refusal is LATER else 0)
    # The next connection is not affected by the refusal.
    world.open()
    assert world.rows.connections[-1].refusal is None


def test_a_refused_upgrade_is_recorded_as_what_it_is() -> None:
    world, _ = world_with_complaints()

    def refuse(self: Socket, timeout_s: float) -> None:
        raise NotNowError("HTTP 429", LATER)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Socket, "open", refuse)
        with pytest.raises(NotNowError):
            world.open()
    (row,) = world.rows.connections
    assert (row.error, row.refusal) == ("HTTP 429", "throttled")
    assert world.run.progress.throttled == 1


def test_a_subscribe_that_is_refused_for_now_is_asked_again_until_it_is_accepted() -> None:
    world, told = world_with_complaints()
    world.open()
    socket = world.socket
    world.said.on_subscribed("s11", 2)
    for turn in range(3):
        world.said.on_subscribe_failed("s10" if turn == 0 else f"s10-{turn}", "LimitExceededError", LATER)
        asked = len(socket.sent)
        gevent.sleep(0.05)
        assert len(socket.sent) == asked + 1
    world.said.on_subscribed("s10-3", 3)
    world.run.readiness.settle()
    assert world.gauges() == (1, 2, 2)
    assert (world.run.progress.throttled, world.run.progress.failed) == (3, 0)
    assert {fatal for _, fatal in told} == {False}
    refused = [row for row in world.rows.subscriptions if row.refusal is not None]
    assert [(row.subscription, row.turn, row.refusal) for row in refused] == [
        (10, turn, "throttled") for turn in range(3)
    ]
    assert all(row.ended_ns is not None and row.acknowledged_ns is None for row in refused)
    # A refused subscription's id is no longer known.
    world.said.on_event("s10", "{}", 1, 2)
    assert world.rows.deviations[DELIVERY_UNASKED] == 1


def test_a_subscribe_is_not_asked_again_where_the_connection_has_ended_meanwhile() -> None:
    world, _ = world_with_complaints()
    world.open()
    world.said.on_subscribe_failed("s10", "LimitExceededError", LATER)
    world.client.cut("leave", with_close_frame=False)
    world.open()
    gevent.sleep(0.05)
    assert len(world.socket.sent) == 2, "of the new life, and not asked again in it"
    assert world.run.progress.requested == 4


def test_a_subscribe_that_is_refused_for_good_says_what_to_do() -> None:
    world, told = world_with_complaints()
    world.open()
    world.said.on_subscribe_failed("s10", "UnauthorizedException", NEVER)
    ((reason, fatal),) = told
    assert fatal
    assert reason.startswith(
        f"subscription to {PLANS[0].channel} refused: UnauthorizedException; check the key"
    )
    assert world.run.progress.failed == 1


def test_a_silent_connection_ends_as_such() -> None:
    world, _ = world_with_complaints()
    watched: list[tuple[int, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "timeout_ns", 3_000_000_000)
        patch.setattr(
            Socket,
            "watch_silence",
            lambda self, timeout_ns, on_silent: watched.append((timeout_ns, on_silent)),
            raising=False,
        )
        world.open()
        world.ready()
        ((timeout_ns, on_silent),) = watched
        assert timeout_ns == 3_000_000_000
        on_silent(123)
    row = world.rows.connections[-1]
    assert row.silent_since_ns == 123
    assert row.error.startswith("silent for 3 s: nothing at all came")
    assert world.run.progress.lost_connections == 1
    assert world.gauges() == (0, 0, 0)
    world.open()
    assert world.rows.connections[-1].silent_since_ns is None


def test_an_event_before_its_subscribe_success_is_named_where_the_protocol_forbids_that() -> None:
    world, _ = world_with_complaints()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "early_delivery", "too early")
        world.open()
        # The content of the event does not matter.
        world.said.on_event("s10", "no JSON", 3, 4)
        world.said.on_event("s11", "{}", 3, 4)
        world.said.on_subscribed("s10", 5)
        world.said.on_event("s10", "no JSON", 6, 7)
    assert world.rows.deviations == {"too early": 2}
