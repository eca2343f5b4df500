"""Test the requests and answers on a connection that a protocol file describes."""

import json
from typing import Any

import pytest

from loadgen.protocol.base import PublishAnswer
from loadgen.protocol.generic.exchanges import Exchanges
from loadgen.protocol.generic.rules import Rule
from tests.protocol.generic.test_session import Told, service_of

DESCRIBED = """
    version: 1
    connect: {messages: json}
    subscribe:
      send: {type: sub, id: "{number}", to: "{channel}"}
      accepted: {when: {/type: subbed}, number: /id}
      refused: {when: {/type: failed}, number: /id, reason: /why}
    unsubscribe:
      send: {type: unsub, id: "{number}"}
      accepted: {when: {/type: unsubbed}, number: /id}
      refused: {when: {/type: unfailed}, number: /id, reason: /why}
    publish:
      websocket:
        send: {type: pub, id: "{id}", to: "{channel}", events: "{events}"}
        accepted: {when: {/type: pubbed}, id: /id}
        refused: {when: {/type: pubfailed}, id: /id, reason: /why}
    deliver: {when: {/type: event}, number: /id, event: /event}
"""
BY_URL = """
    version: 1
    connect: {url: "{target}/{channel}", messages: text}
    publish: {http: {url: "{target}/{channel}", body: "{event}"}}
    deliver: "{event}"
"""


class Talk:
    """The exchanges of requests and answers on one connection, with messages that a test sends as the service."""

    def __init__(self, text: str = DESCRIBED) -> None:
        self.told = Told()
        self._dialect = service_of(text)._dialect
        self.exchanges = Exchanges(self._dialect, self.told)

    def answer(self, **message: Any) -> bool:
        """Process a message of the service by the first rule that fits it, as a session does.

        Return True if it was the answer to a waiting request.
        """
        unit: Any = message
        rule, found = next(
            (rule, found) for rule in self._dialect.rules if (found := rule.pattern.match(unit)) is not None
        )
        assert isinstance(rule, Rule)
        return self.exchanges.answered(rule, found, 7)


def test_requests_are_numbered_and_name_the_channel() -> None:
    talk = Talk()
    first = talk.exchanges.subscribe("s1", "/a/b")
    second = talk.exchanges.subscribe("s2", "/c")
    assert first is not None
    assert second is not None
    assert json.loads(first) == {"type": "sub", "id": 1, "to": "/a/b"}
    assert json.loads(second) == {"type": "sub", "id": 2, "to": "/c"}
    assert json.loads(talk.exchanges.unsubscribe("s1")) == {"type": "unsub", "id": 1}
    assert json.loads(talk.exchanges.publish("p1", "/c", ['{"n":1}', '{"n":2}'])) == {
        "type": "pub",
        "id": "p1",
        "to": "/c",
        "events": ['{"n":1}', '{"n":2}'],
    }


def test_each_answer_belongs_to_its_request_in_any_order_and_once() -> None:
    talk = Talk()
    for number in (1, 2):
        talk.exchanges.subscribe(f"s{number}", f"/{number}")
    assert talk.answer(type="subbed", id=2)
    assert talk.answer(type="failed", id=1, why="no")
    assert talk.told.take() == [("subscribed", "s2"), ("subscribe_failed", "s1", "no")]
    assert not talk.answer(type="subbed", id=2), "answered before"
    assert not talk.answer(type="subbed", id=9), "never requested"
    assert not talk.told


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"type": "pubbed", "id": "p1"}, PublishAnswer()),
        ({"type": "pubfailed", "id": "p1", "why": "full"}, PublishAnswer(error="full")),
        ({"type": "pubfailed", "id": "p1", "why": ""}, PublishAnswer(error="refused, without a reason")),
    ],
)
def test_a_publish_is_accepted_or_refused(answer: dict[str, Any], said: PublishAnswer) -> None:
    talk = Talk()
    talk.exchanges.publish("p1", "/a", ["1"])
    assert talk.answer(**answer)
    assert talk.told.take() == [("published", "p1", said)]


def test_only_a_refused_unsubscribe_is_reported() -> None:
    talk = Talk()
    talk.exchanges.subscribe("s1", "/a")
    talk.exchanges.unsubscribe("s1")
    assert talk.answer(type="unsubbed", id=1)
    assert not talk.told
    talk.exchanges.unsubscribe("s1")
    assert talk.answer(type="unfailed", id=1, why="too late")
    assert talk.told.take() == [("service_error", "an unsubscribe was refused: too late")]


def test_a_subscription_by_the_url_has_no_message_and_gets_all_deliveries() -> None:
    talk = Talk(BY_URL)
    assert talk.exchanges.subscribe("s1", "/a") is None
    assert talk.exchanges.routes.only == "s1"
