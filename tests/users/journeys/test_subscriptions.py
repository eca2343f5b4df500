"""Test which subscriptions a journey has, and which it can request again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync.target import RULES
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import JourneyPlan
from loadgen.users.journeys.feeds import Feed
from loadgen.users.journeys.subscriptions import Feeds

APART = replace(RULES, overlapping_subscriptions=False)


class Nobody:
    """Implements `Owner`, which these tests do not use."""

    def wait_for(self, what: object, timeout: float, *, feed: Feed | None) -> None:
        raise AssertionError

    def unsubscribe(self, feed: Feed) -> None:
        raise AssertionError


def of(rules: ProtocolRules = RULES, first: int = 7, stride: int = 100) -> Feeds:
    return Feeds(rules, JourneyPlan(((0, None),), first, stride, "seed"))


def have(feeds: Feeds, channel: str, life: int = 1) -> Feed:
    plan, _ = feeds.plan_for(channel, life)
    feed = Feed(Nobody(), plan, None)
    feeds.add(feed)
    return feed


def test_new_subscriptions_are_numbered_by_the_stride() -> None:
    feeds = of()
    assert [have(feeds, channel).plan.number for channel in ("/default/a", "/default/b", "/default/a")] == [
        7,
        107,
        207,
    ]


def test_a_channel_given_up_is_asked_for_again_only_in_the_same_life() -> None:
    feeds = of()
    asked: list[str] = []
    feed = have(feeds, "/default/a")
    assert feeds.remove(feed)
    assert not feeds.remove(feed)
    feeds.spare(feed, 1, lambda: asked.append("again"))
    same, again = feeds.plan_for("/default/a", 1)
    assert same is feed.plan
    assert again is not None
    feeds.spare(feed, 1, again)
    same, again = feeds.plan_for("/default/a", 2)
    assert (same, again) == (feed.plan, None)
    # The subscription of the first feed is in use again, so a second feed of the channel gets another number.
    assert feeds.plan_for("/default/a", 2)[0].number == 107


def test_numbers_end_with_a_sentence() -> None:
    feeds = of(first=(1 << 31) - 1)
    have(feeds, "/default/a")
    with pytest.raises(ValueError, match="too many different subscriptions"):
        feeds.plan_for("/default/b", 1)


@pytest.mark.parametrize(
    ("has", "wanted", "apart"),
    [
        ("/default/a", "/default/b", True),
        ("/default/a", "/default/a", False),
        ("/default/*", "/default/a/b", False),
        ("/default/a/b", "/default/a/*", False),
        ("/default/a/*", "/default/b/*", True),
    ],
)
def test_overlapping_feeds_are_refused_where_a_message_does_not_say_which(
    has: str, wanted: str, apart: bool
) -> None:
    feeds = of(APART)
    feed = have(feeds, has)
    if apart:
        feeds.demand_apart(wanted)
    else:
        with pytest.raises(ValueError, match=r"overlaps '/default"):
            feeds.demand_apart(wanted)
    feeds.remove(feed)
    feeds.demand_apart(wanted)
    both = of(replace(RULES, overlapping_subscriptions=True))
    have(both, has)
    both.demand_apart(wanted)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_no_two_feeds_ever_have_one_number(steps: list[tuple[str, bool]]) -> None:
    feeds = of()
    for name, gone in steps:
        if gone and (there := [each for each in feeds if each.channel == f"/default/{name}"]):
            feeds.remove(there[0])
            feeds.spare(there[0], 1, None)
        else:
            have(feeds, f"/default/{name}")
    numbers = [each.plan.number for each in feeds]
    assert len(set(numbers)) == len(numbers)
    assert all(feeds.get(each.plan.number) is each for each in feeds)
