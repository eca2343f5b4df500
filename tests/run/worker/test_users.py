"""Test that users of a worker get the clients granted by the master, and are counted while they play."""

import itertools
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.resolve import Clients
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.master_messages import Grant
from loadgen.run.worker.users import Users
from loadgen.run.worker_messages import Claim
from loadgen.scenario import overrides_of
from tests.run.worker.made_up import MadeUpClock, MadeUpLine, settle

RUN = resolve(load("comments", overrides_of(["clients.readers.count=40", "clients.commenters.count=20"])))
READER, WRITER = (group.role for group in RUN.groups)


class Site:
    def __init__(self) -> None:
        self.line, self.clock = MadeUpLine(), MadeUpClock()
        self.complete = Event()
        self.complete.set()
        self.users = Users(self.line, self.clock, Clients(RUN), self.complete)

    def claims(self, *roles: str) -> list[Any]:
        waiting = [gevent.spawn(self.users.claim, role) for role in roles]
        settle()
        return waiting


@pytest.fixture
def site() -> Site:
    return Site()


def numbers(waiting: list[Any]) -> list[int | None]:
    settle()
    assert all(each.ready() for each in waiting)
    return [None if each.value is None else each.value.number for each in waiting]


def test_users_that_come_together_ask_in_one_message_and_each_gets_its_own_client(site: Site) -> None:
    waiting = site.claims(READER, WRITER, READER)
    assert site.line.sent == []
    site.clock.go_on(0.005)
    (claim,) = site.line.all(Claim)
    assert claim.wanted == {READER: 2, WRITER: 1}
    site.users.on_grant(Grant(request=claim.request, granted={READER: [3, 5], WRITER: [41]}))
    assert numbers(waiting) == [3, 41, 5]
    # A user that comes later makes another request.
    later = site.claims(READER)
    site.clock.go_on(0.005)
    assert site.line.last(Claim).wanted == {READER: 1}
    site.users.on_grant(Grant(request=site.line.last(Claim).request, granted={READER: [7]}))
    assert numbers(later) == [7]


@settings(max_examples=60, deadline=None)
@given(roles=st.lists(st.sampled_from([READER, WRITER]), min_size=1, max_size=12), data=st.data())
def test_no_client_is_given_twice_and_none_that_was_not_granted(
    roles: list[str], data: st.DataObject
) -> None:
    site = Site()
    waiting = site.claims(*roles)
    site.clock.go_on(0.005)
    claim = site.line.last(Claim)
    assert claim.wanted == {role: roles.count(role) for role in set(roles)}
    first: dict[str, int] = {READER: 0, WRITER: 40}
    granted = {
        role: list(range(first[role], first[role] + data.draw(st.integers(0, count))))
        for role, count in claim.wanted.items()
    }
    site.users.on_grant(Grant(request=claim.request, granted=granted))
    got = numbers(waiting)
    given_ = [number for number in got if number is not None]
    assert sorted(given_) == sorted(itertools.chain.from_iterable(granted.values()))
    for role, number in zip(roles, got, strict=True):
        assert number is None or number in granted[role]


def test_an_answer_to_nothing_and_a_role_that_nobody_asked_for_change_nothing(site: Site) -> None:
    waiting = site.claims(READER)
    site.users.on_grant(Grant(request=1, granted={READER: [1]}))
    site.clock.go_on(0.005)
    request = site.line.last(Claim).request
    site.users.on_grant(Grant(request=(request + 1) % (1 << 31), granted={READER: [1]}))
    settle()
    assert not waiting[0].ready()
    site.users.on_grant(Grant(request=request, granted={"unknown": [2]}))
    assert numbers(waiting) == [None]
    # A second answer to the same request arrives too late: the first one has ended the wait.
    site.users.on_grant(Grant(request=request, granted={READER: [1]}))
    assert numbers(waiting) == [None]


def test_a_user_that_has_not_asked_yet_when_the_run_ends_gets_no_client(site: Site) -> None:
    waiting = site.claims(READER, WRITER)
    site.users.release()
    assert numbers(waiting) == [None, None]


def test_the_end_waits_for_users_that_play_but_not_for_ever(site: Site) -> None:
    assert site.users.wait_until_gone(10)
    site.users.joined()
    site.users.joined()
    waiting = gevent.spawn(site.users.wait_until_gone, 10)
    site.clock.go_on(3)
    site.users.left()
    site.clock.go_on(3)
    assert not waiting.ready()
    site.users.left()
    site.clock.go_on(0.1)
    assert waiting.value is True
    site.users.joined()
    waiting = gevent.spawn(site.users.wait_until_gone, 10)
    site.clock.go_on(9.9)
    assert not waiting.ready()
    site.clock.go_on(0.2)
    assert waiting.value is False
