"""Test whether a journey publishes over HTTP or over its connection."""

from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.resolve import ClientPlan
from loadgen.transport.dialing import Dialer
from loadgen.users.journeys.errors import RefusedError
from loadgen.users.journeys.senders import Senders
from loadgen.users.senders import ConnectionSender, HttpSender

URL = "http://127.0.0.1:1/event"


class Link:
    """Records the deadlines that `connect` was given."""

    def __init__(self, refused: bool = False) -> None:
        self.connection: Any = object()
        self.deadlines_s: list[float] = []
        self._refused = refused

    def demand_login(self) -> None:
        if self._refused:
            raise RefusedError("no login")

    def connect(self, deadline_s: float) -> None:
        self.deadlines_s.append(deadline_s)


def senders(
    link: Link, http_url: str | None = URL, *, over_http: bool = True, over_connections: bool = True
) -> Senders:
    rules = SimpleNamespace(publishes_over_http=over_http, publishes_over_connections=over_connections)
    service = SimpleNamespace(http_url=http_url)
    run: Any = SimpleNamespace(
        rules=rules,
        logins=SimpleNamespace(service=lambda plan: service),
        failures=SimpleNamespace(add=lambda *_: None),
        recorder=SimpleNamespace(undecodable=None),
        dialer=Dialer(),
    )
    return Senders(run, ClientPlan(42, "g", 0, (), None, 0), link)


@pytest.mark.parametrize(
    ("via", "over_http", "over_connections", "by_http"),
    [
        (None, True, True, True),
        ("http", True, True, True),
        ("websocket", True, True, False),
        (None, False, True, False),
        ("http", False, True, False),
        ("websocket", True, False, True),
    ],
)
def test_http_is_chosen_unless_it_is_not_wanted_or_the_service_lacks_it(
    via: str | None, over_http: bool, over_connections: bool, by_http: bool
) -> None:
    link = Link()
    made = senders(link, over_http=over_http, over_connections=over_connections)
    sender = made.choose(via, 7.0)
    assert isinstance(sender, HttpSender if by_http else ConnectionSender)
    assert link.deadlines_s == ([] if by_http else [7.0]), "HTTP needs no connection of the journey"
    made.close()


def test_without_an_http_url_the_connection_is_used() -> None:
    link = Link()
    assert isinstance(senders(link, None).choose("http", 7.0), ConnectionSender)
    assert link.deadlines_s == [7.0]


def test_all_publishes_share_the_http_connections() -> None:
    made = senders(Link())
    assert made.choose(None, 1.0) is made.choose("http", 2.0)
    made.close()


def test_nothing_is_chosen_without_a_login_or_with_an_unknown_way() -> None:
    link = Link(refused=True)
    with pytest.raises(RefusedError, match="no login"):
        senders(link).choose("websocket", 7.0)
    with pytest.raises(ValueError, match="'http' or 'websocket', not 'mqtt'"):
        senders(Link()).choose("mqtt", 7.0)
    assert not link.deadlines_s


def test_an_unused_sender_closes() -> None:
    senders(Link()).close()
