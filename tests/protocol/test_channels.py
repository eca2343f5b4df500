"""Test the channel grammar, wildcards and the subscription index."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync.channels import (
    ChannelError,
    SubscriptionIndex,
    matches,
    namespace_of,
    normalise,
    validate_publish,
    validate_subscribe,
)

# The regular expression of a channel in AWS's documentation.
DOCUMENTED = re.compile(
    r"^\/?[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?(?:\/[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?){0,4}\/?\Z"
)

# Use few letters, so that channels and patterns often match.
channels = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=5).map(
    lambda s: "/" + "/".join(s)
)
wildcards = st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=4).map(
    lambda s: "/" + "/".join(s) + "/*"
)
patterns = channels | wildcards


def naive_matches(pattern: str, channel: str) -> bool:
    wanted, given_ = pattern.strip("/").split("/"), channel.strip("/").split("/")
    if wanted[-1] == "*":
        return len(given_) >= len(wanted) and given_[: len(wanted) - 1] == wanted[:-1]
    return wanted == given_


@pytest.mark.parametrize("text", ["default/news", "/default/news", "default/news/", "/default/news/"])
def test_the_outer_slashes_are_optional(text: str) -> None:
    assert normalise(text) == "/default/news"
    assert validate_publish(text) == validate_subscribe(text) == "/default/news"
    assert namespace_of(text) == "default"


@given(st.text(alphabet="aZ0-/* é\n", max_size=20) | st.from_regex(DOCUMENTED))
def test_publish_takes_exactly_what_the_documented_expression_takes(text: str) -> None:
    try:
        validate_publish(text)
    except ChannelError:
        assert not DOCUMENTED.match(text)
    else:
        assert DOCUMENTED.match(text)


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ("", "segment 1 of channel '' is empty"),
        ("/", "is empty"),
        ("//a", "segment 1 of channel '//a' is empty"),
        ("/a//b", "segment 2 of channel '/a//b' is empty"),
        ("/a/b/c/d/e/f", "has 6 segments: at most 5"),
        ("/-a", "no dash at either end"),
        ("/a-", "no dash at either end"),
        ("/a_b", "letters, digits and dashes"),
        ("/é", "letters, digits and dashes"),
        ("/a\n", r"'a\n'"),
        ("/" + "x" * 51, "51 characters: at most 50"),
        ("/a/*", "only a subscription may have"),
    ],
)
def test_a_bad_publish_channel_is_named_in_one_sentence(channel: str, says: str) -> None:
    with pytest.raises(ChannelError) as caught:
        validate_publish(channel)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "says"),
    [
        ("/*", "no namespace before"),
        ("*", "no namespace before"),
        ("/a/*/b", "before its end"),
        ("/*/a", "before its end"),
        ("/a/**", "letters, digits and dashes"),
        ("/a/b*", "letters, digits and dashes"),
        ("/a/b/c/d/e/*", "6 segments"),
    ],
)
def test_a_wildcard_may_only_be_the_last_of_several_segments(channel: str, says: str) -> None:
    with pytest.raises(ChannelError, match=re.escape(says)):
        validate_subscribe(channel)


def test_a_wildcard_is_multi_level_and_does_not_match_its_bare_prefix() -> None:
    assert validate_subscribe("default/*") == "/default/*"
    assert matches("/default/*", "/default/race")
    assert matches("/default/*", "default/race/formula1/")
    assert not matches("/default/*", "/default")
    assert not matches("/default/*", "/defaults/race")
    assert not matches("/Default/*", "/default/race")


@given(patterns, channels)
def test_matches_agrees_with_the_naive_reference(pattern: str, channel: str) -> None:
    assert matches(pattern, channel) == naive_matches(pattern, channel)


@given(st.lists(patterns, max_size=30), st.data(), channels)
def test_the_index_agrees_with_matches_after_any_removals(
    stored: list[str], data: st.DataObject, channel: str
) -> None:
    index: SubscriptionIndex[int] = SubscriptionIndex()
    for value, pattern in enumerate(stored):
        index.add(pattern, value)
    live = dict(enumerate(stored))
    for value in data.draw(st.lists(st.sampled_from(range(len(stored))), unique=True)) if stored else []:
        index.remove(live.pop(value), value)
    assert len(index) == len(live)
    expected = [value for value, pattern in live.items() if matches(pattern, channel)]
    assert sorted(index.match(channel)) == expected


def test_the_index_keeps_the_order_of_subscription_and_forgets_empty_patterns() -> None:
    index: SubscriptionIndex[str] = SubscriptionIndex()
    for value in ("c", "a", "b", "a"):
        index.add("/default/x", value)
    assert index.match("/default/x") == ["c", "a", "b"]
    assert len(index) == 3
    for value in ("a", "b", "c"):
        index.remove("/default/x", value)
    assert index.match("/default/x") == []
    with pytest.raises(KeyError):
        index.remove("/default/x", "a")
