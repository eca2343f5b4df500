"""Test the translation of channels to MQTT topics, against MQTT's own definition of topic filters (MQTT 5, 4.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol import shares
from loadgen.protocol.appsync import channels
from loadgen.protocol.mqtt import topics
from loadgen.protocol.mqtt.topics import Subscriptions, TopicError

SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab", "c-1", "ü"]), min_size=1, max_size=5)
CHANNELS = SEGMENTS.map(lambda segments: "/" + "/".join(segments))
PATTERNS = st.tuples(CHANNELS, st.booleans()).map(lambda pair: pair[0] + ("/*" if pair[1] else ""))


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Return whether a filter matches a topic by the standard's rules; a filter with `+` is not supported."""
    levels, wanted = topic.split("/"), topic_filter.split("/")
    if wanted[-1] == "#":
        return levels[: len(wanted) - 1] == wanted[:-1]
    return levels == wanted


@given(PATTERNS, CHANNELS)
def test_a_pattern_means_its_topic_filter_but_for_the_filters_own_parent(pattern: str, channel: str) -> None:
    expected = filter_matches(topics.topic_of(pattern), topics.topic_of(channel))
    assert topics.matches(pattern, channel) == (expected and pattern != f"{channel}/*")


@given(PATTERNS, CHANNELS)
def test_a_scenario_of_appsync_events_means_the_same(pattern: str, channel: str) -> None:
    assert topics.matches(pattern, channel) == channels.matches(pattern, channel)
    assert topics.normalise(pattern) == channels.normalise(pattern)


@given(st.lists(PATTERNS, unique=True, max_size=6), st.lists(CHANNELS, min_size=1, max_size=8))
def test_a_message_belongs_to_the_one_subscription_that_matches(
    patterns: list[str], published: list[str]
) -> None:
    subscriptions = Subscriptions()
    for pattern in patterns:
        subscriptions.add(topics.topic_of(pattern), pattern)
        assert subscriptions.filter_of(pattern) == topics.topic_of(pattern)
    for channel in published * 2:
        matching = [pattern for pattern in patterns if topics.matches(pattern, channel)]
        found = subscriptions.find(topics.topic_of(channel))
        assert found in matching if matching else found is None
        if channel in matching:
            assert found == channel, "the exact one goes first"


def test_what_comes_late_belongs_to_the_subscription_that_took_the_others_place() -> None:
    subscriptions = Subscriptions()
    subscriptions.add("a/#", "s1")
    assert subscriptions.find("a/b") == "s1"
    subscriptions.add("a/#", "s1-1")
    assert subscriptions.find("a/b") == "s1-1"


@pytest.mark.parametrize(
    ("channel", "topic"),
    [
        ("/default/news", "default/news"),
        ("default/news", "default/news"),
        ("/default/*", "default/#"),
        ("default/#", "default/#"),
        ("//of/the/root", "/of/the/root"),
        ("/temperature °C", "temperature °C"),
    ],
)
def test_a_channel_is_a_topic_with_a_slash_before_it(channel: str, topic: str) -> None:
    assert topics.topic_of(topics.validate_subscribe(channel)) == topic


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ("", "is empty"),
        ("/", "is empty"),
        ("/a/+/b", "only '#' is known"),
        ("/a/#/b", "only '#' is known"),
        ("/a#", "only '#' is known"),
        ("/$SYS/uptime", "begins with '$'"),
        ("/a\0b", "null character"),
        ("/\ud800", "UTF-8"),
        ("/" + "x" * 65_536, "has 65536 bytes"),
    ],
)
def test_what_is_no_topic_is_told(channel: str, said: str) -> None:
    for validate in (topics.validate_publish, topics.validate_subscribe):
        with pytest.raises(TopicError, match="channel ") as caught:
            validate(channel)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_wildcard_stands_at_the_end_of_a_subscription_and_nowhere_else() -> None:
    for channel in ("/a/*", "/a/#"):
        with pytest.raises(TopicError, match="publish to one topic"):
            topics.validate_publish(channel)
    with pytest.raises(TopicError, match="before its end"):
        topics.validate_subscribe("/a/*/b")


@pytest.mark.parametrize(
    ("channel", "topic_filter", "pattern"),
    [
        ("/$share/readers/default/news", "$share/readers/default/news", "/default/news"),
        ("$share/readers/default/#", "$share/readers/default/#", "/default/*"),
        ("/$share/g//of/the/root", "$share/g//of/the/root", "//of/the/root"),
    ],
)
def test_a_shared_subscription_names_its_group_and_the_pattern_that_it_shares(
    channel: str, topic_filter: str, pattern: str
) -> None:
    normal = topics.validate_subscribe(channel)
    assert topics.filter_of(normal) == topic_filter
    assert shares.pattern_of(normal) == pattern
    assert shares.group_of(normal) == topic_filter.split("/")[1]
    assert topics.topic_of(normal) == topics.topic_of(pattern)
    assert topics.matches(normal, pattern.replace("*", "x"))
    with pytest.raises(TopicError):
        topics.validate_publish(channel)


@given(PATTERNS, CHANNELS, st.text("abü-1", min_size=1))
def test_a_shared_subscription_receives_what_its_pattern_receives(
    pattern: str, channel: str, group: str
) -> None:
    shared = topics.validate_subscribe(f"/$share/{group}{pattern}")
    assert shares.split(shared) == (group, pattern)
    assert topics.matches(shared, channel) == topics.matches(pattern, channel)


@pytest.mark.parametrize(
    "channel",
    ["/$share", "/$share/", "/$share/g", "/$share/g/", "/$share//a", "/$share/a+b/c", "/$share/#/c", "/$share/*/c",
     "/$share/g\0/c", "/$share/g/a/*/b", "/$share/g/$SYS/x", "/$share/\ud800/x"],
)  # fmt: skip
def test_what_is_no_shared_subscription_is_told(channel: str) -> None:
    with pytest.raises(TopicError, match="channel "):
        topics.validate_subscribe(channel)
