"""Test a connection's last messages: in order, bounded, with times, without the login's secrets."""

import json
from typing import Any
from unittest.mock import create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.base import SessionHandler
from loadgen.users.last_messages import KEPT, KEPT_BYTES, LastMessages
from tests.client.test_frames import CHANNEL, SECRETS, service
from tests.isolation.test_connection import PLANS, Session, World

SECRET = "da2-abcdefghijklmnopqrstuvwxyz"


def ignored(*_: object) -> None:
    """Take a message."""


def test_the_last_messages_are_shown_in_order_with_times_before_the_end() -> None:
    heard: list[Any] = []
    last = LastMessages(service(SECRET), lambda *given: heard.append(given))
    last.sent(b'{"type":"connection_init"}', 10)
    last.received(b'{"type":"connection_ack","connectionTimeoutMs":300000}', 20, 21)
    last.sent(b"x" * 700, 30, "subscribe to /default/a")
    error = {"type": "error", "errors": [{"errorType": "RateLimited", "message": "slow down"}]}
    for number in range(2):
        last.received(json.dumps(error).encode(), 40 + number, 50)
    shown = last.shown([CHANNEL], 141)
    assert len(shown) == KEPT
    assert [(each.sent, each.before_ns) for each in shown] == [
        (False, 121),
        (True, 111),
        (False, 101),
        (False, 100),
    ]
    assert shown[1].text == "subscribe to /default/a"
    assert shown[1].size_bytes == 700
    assert json.loads(shown[3].text) == error
    assert shown[3].size_bytes == len(json.dumps(error))
    # Each message was passed on unchanged.
    assert [given[1] for given in heard] == [20, 40, 41]


@given(SECRETS, st.sampled_from(["message", "error", "reason", "key"]))
def test_no_secret_of_the_login_is_shown(secret: str, member: str) -> None:
    target = service(secret, token=True)
    session = target.session(create_autospec(SessionHandler))
    last = LastMessages(target, ignored)
    for message in session.opening():
        last.sent(message, 1)
    last.sent(session.subscribe("s1", CHANNEL), 2)
    last.received(json.dumps({"type": "error", member: f"not {secret} here"}).encode(), 3, 3)
    last.received(f"denied {secret}".encode(), 4, 4)
    assert secret not in "\n".join(each.text for each in last.shown([CHANNEL], 5))


@given(st.lists(st.binary(max_size=2 * KEPT_BYTES), max_size=8))
def test_whatever_comes_it_is_bounded(messages: list[bytes]) -> None:
    last = LastMessages(service(SECRET), ignored)
    for number, message in enumerate(messages):
        last.received(bytearray(message), number, number)
    shown = last.shown([], 0)
    assert [each.size_bytes for each in shown] == [len(each) for each in messages[-KEPT:]]
    assert all(each.before_ns >= 0 and len(each.text) < 700 for each in shown)


def test_what_comes_in_no_known_form_is_told_by_its_command_and_length() -> None:
    last = LastMessages(service(SECRET), ignored)
    last.received(b"MSG rooms.1 9 12\r\nprivate text\r\n", 1, 1)
    last.received(b'{"type":"data","event":"' + b"p" * KEPT_BYTES + b'"}', 2, 2)
    assert [each.text for each in last.shown([], 3)] == ["MSG … (32 bytes)", "…"]


@pytest.mark.parametrize("ours", [False, True])
def test_only_a_connection_that_failed_is_in_the_record(ours: bool) -> None:
    of = World()
    of.open()
    of.ready()
    if ours:
        of.client.abort()
    else:
        of.socket.end(1008, "policy")
    kept = of.rows.broken.to_list()
    if ours:
        assert kept == []
        return
    (broken,) = kept
    assert (broken["error"], broken["connection"], broken["life"]) == ("closed with code 1008: policy", 1, 0)
    assert [(each["sent"], each["text"]) for each in broken["messages"]] == [
        (True, f"subscribe to {plan.channel}") for plan in PLANS
    ]


def test_a_login_that_is_refused_is_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def opening(self: Session) -> list[bytes]:
        self.handler.on_refused("denied")
        return [b'{"type":"connection_init"}']

    monkeypatch.setattr(Session, "opening", opening)
    of = World()
    with pytest.raises(Exception, match="denied"):
        of.open()
    (broken,) = of.rows.broken.to_list()
    assert (broken["error"], [each["text"] for each in broken["messages"]]) == (
        "denied",
        ['{"type": "connection_init"}'],
    )
