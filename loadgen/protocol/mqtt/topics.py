"""Translate channels to MQTT topics, and find the subscription that a message belongs to.

A channel is a topic with a leading slash, so that a scenario means the same on AppSync Events and MQTT: channel
`/default/comments/42` is topic `default/comments/42`. A subscription's last segment may be `*` or `#`; both mean the
same, and become the topic filter `default/comments/#`. That filter also covers the topic `default/comments` itself
(MQTT 5, 4.7.1.2), but `/default/comments/*` does not: messages of that topic belong to no subscription.

`+` is refused: the harness cannot compute which events such a subscription should receive.

`/$share/GROUP/default/comments/*` is a shared subscription, the topic filter `$share/GROUP/default/comments/#` (MQTT 5,
4.8.2; many brokers of MQTT 3.1.1 know it too).
"""

from collections.abc import Mapping

from loadgen.protocol import shares

_SHOWN_CHARACTERS = 80
_TOPIC_MAX_BYTES = 65_535
"""The longest topic: MQTT sends its length as a two-byte integer (MQTT 5, 1.5.4)."""
#: Size of the cache of topics that matched a wildcard subscription.
_REMEMBERED = 10_000


class TopicError(ValueError):
    """A channel is not a valid topic; the message is one sentence."""


def normalise(channel: str) -> str:
    """Return the channel with one leading slash, and `/*` for a `/#` at its end; checks nothing."""
    channel = "/" + channel.removeprefix("/")
    return channel[:-1] + "*" if channel.endswith("/#") else channel


def validate_publish(channel: str) -> str:
    """Return the normalised channel if it names one topic.

    Raises:
        TopicError: the channel has a wildcard or is not a valid topic.
    """
    normal = normalise(channel)
    _check(channel, normal)
    if "*" in normal.split("/"):
        raise TopicError(
            f"channel {_shown(channel)} has a wildcard, which only a subscription may have: publish to one topic"
        )
    return normal


def validate_subscribe(channel: str) -> str:
    """Return the normalised channel or pattern if it may be subscribed to.

    Raises:
        TopicError: the channel is not a valid topic, or has a wildcard that is not its last segment or is its only
            segment.
    """
    normal = normalise(channel)
    group, pattern = shares.split(normal)
    if group is not None:
        _check_group(channel, group, pattern)
    _check(channel, pattern.removesuffix("/*"))
    if "*" in pattern.removesuffix("/*").split("/"):
        raise TopicError(
            f"channel {_shown(channel)} has a wildcard before its end: only the last segment may be '*' or '#'"
        )
    return normal


def matches(pattern: str, channel: str) -> bool:
    """Return whether a subscription to ``pattern`` should receive events of ``channel``; both must be valid.

    Each event that matches a shared subscription goes to one of its members.
    """
    pattern, channel = shares.pattern_of(normalise(pattern)), shares.pattern_of(normalise(channel))
    if pattern.endswith("/*"):
        return channel.startswith(pattern[:-1]) and len(channel) > len(pattern) - 1
    return pattern == channel


def topic_of(channel: str) -> str:
    """Return the topic of a channel, or the topic filter of a pattern, without the group of a shared subscription."""
    topic = shares.pattern_of(normalise(channel))[1:]
    return topic[:-1] + "#" if topic.endswith("/*") else topic


def filter_of(channel: str) -> str:
    """Return the topic filter to subscribe to for a valid channel or pattern: with the group, if it is shared."""
    group = shares.group_of(normalise(channel))
    return topic_of(channel) if group is None else f"$share/{group}/{topic_of(channel)}"


class Subscriptions:
    """Finds the subscription of a message by its topic; the topic filters of a connection must not overlap."""

    __slots__ = ("_below", "_exact", "_filters", "_found")

    def __init__(self) -> None:
        self._exact: dict[str, str] = {}
        #: The subscriptions with a wildcard, by topic filter without the `#`, such as `chat/`.
        self._below: dict[str, str] = {}
        self._found: dict[str, str] = {}
        self._filters: dict[str, str] = {}

    def add(self, topic_filter: str, subscription_id: str, subscribed: str | None = None) -> None:
        """From now on, deliver messages whose topic matches the topic filter to this subscription.

        ``subscribed`` is the topic filter in the SUBSCRIBE, or None if it equals ``topic_filter``. The two differ for a
        shared subscription, whose filter in the SUBSCRIBE begins with `$share` and the group.
        """
        self._filters[subscription_id] = topic_filter if subscribed is None else subscribed
        if topic_filter.endswith("/#"):
            self._below[topic_filter[:-1]] = subscription_id
            self._found.clear()
        else:
            self._exact[topic_filter] = subscription_id

    def filter_of(self, subscription_id: str) -> str:
        """Return the topic filter of a subscription.

        Raises:
            KeyError: no subscription has this id.
        """
        return self._filters[subscription_id]

    def by_topic(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the subscription ids by exact topic, and those of wildcard subscriptions by the topics' common prefix.

        A topic belongs to the subscription of exactly this topic, else to the one with the longest prefix of the topic.
        """
        return self._exact, self._below

    def find(self, topic: str) -> str | None:
        """Return the id of the subscription that a topic's messages belong to, or None if there is none."""
        found = self._exact.get(topic)
        if found is None and self._below:
            found = self._found.get(topic)
            if found is None:
                found = self._search(topic)
        return found

    def _search(self, topic: str) -> str | None:
        end = topic.rfind("/")
        while end >= 0:
            found = self._below.get(topic[: end + 1])
            if found is not None:
                if len(self._found) < _REMEMBERED:
                    self._found[topic] = found
                return found
            end = topic.rfind("/", 0, end)
        return None


def _check_group(channel: str, group: str, pattern: str) -> None:
    if not group or not pattern.removeprefix("/") or any(sign in group for sign in "+#*"):
        raise TopicError(
            f"channel {_shown(channel)} is no shared subscription: write '/$share/GROUP/default/news', with a name for"
            " the group that has no '+', '#' or '*'"
        )
    _check(channel, f"/{group}")


def _check(channel: str, normal: str) -> None:
    topic = normal[1:]
    if not topic:
        raise TopicError(f"channel {_shown(channel)} is empty: write a topic, such as '/default/news'")
    if "\0" in topic:
        raise TopicError(f"channel {_shown(channel)} has a null character, which no topic may have")
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        raise TopicError(f"channel {_shown(channel)} cannot be written as UTF-8") from None
    if size > _TOPIC_MAX_BYTES:
        raise TopicError(
            f"channel {_shown(channel)} has {size} bytes: at most {_TOPIC_MAX_BYTES} are allowed"
        )
    if topic.startswith("$"):
        raise TopicError(
            f"channel {_shown(channel)} begins with '$': such topics are the broker's own, or shared subscriptions"
        )
    for sign in "+#":
        if sign in topic:
            raise TopicError(
                f"channel {_shown(channel)} has a {sign!r}: of MQTT's wildcards only '#' is known here,"
                " as a subscription's last segment"
            )


def _shown(text: str) -> str:
    """Quote a text for a message, with control characters escaped and the length bounded."""
    return ascii(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
