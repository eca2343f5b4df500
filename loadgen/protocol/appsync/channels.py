"""Channel names, wildcard patterns and the index that finds the subscribers of a channel.

Grammar (AWS docs): one to five segments of 1-50 letters, digits and dashes, without a dash at either end. A slash at
the start and one at the end are optional. A subscription's last segment may be `*`, which stands for one or more
segments (AWS docs, tutorial; LocalStack's docs), so `/a/*` does not match `/a`. Assumption: the `*` counts as one of
the five segments.
"""

import re
from collections.abc import Collection, Hashable, Iterator
from typing import Generic, TypeVar

from loadgen.protocol.appsync.limits import CHANNEL_SEGMENTS_MAX, SEGMENT_MAX_CHARACTERS

_SEGMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,48}[A-Za-z0-9])?", re.ASCII)
_WILDCARD = "*"
_SHOWN_CHARACTERS = 80


class ChannelError(ValueError):
    """A channel name or pattern that breaks the grammar; the message is one sentence."""


def normalise(channel: str) -> str:
    """Return the channel with one leading slash and without a trailing slash.

    Only the optional slashes change: an invalid channel stays invalid.
    """
    return "/" + channel.removeprefix("/").removesuffix("/")


def validate_publish(channel: str) -> str:
    """Return the normalised channel if events may be published to it.

    Raises:
        ChannelError: the channel breaks the grammar or has a wildcard.
    """
    normal = normalise(channel)
    segments = _segments(channel, normal)
    if _WILDCARD in segments:
        raise ChannelError(
            f"channel {_shown(channel)} has a '*', which only a subscription may have: publish to one channel"
        )
    _check_segments(channel, segments)
    return normal


def validate_subscribe(channel: str) -> str:
    """Return the normalised channel or pattern if it may be subscribed to.

    Raises:
        ChannelError: the channel breaks the grammar, or has a `*` anywhere but as the last of several segments.
    """
    normal = normalise(channel)
    segments = _segments(channel, normal)
    if segments[-1] == _WILDCARD:
        if len(segments) == 1:
            raise ChannelError(
                f"channel {_shown(channel)} has no namespace before the '*': write '/<namespace>/*'"
            )
        segments = segments[:-1]
    if _WILDCARD in segments:
        raise ChannelError(
            f"channel {_shown(channel)} has a '*' before its end: only the last segment may be '*'"
        )
    _check_segments(channel, segments)
    return normal


def namespace_of(channel: str) -> str:
    """Return the first segment, which names the channel namespace; the channel need not be valid."""
    return normalise(channel)[1:].partition("/")[0]


def matches(pattern: str, channel: str) -> bool:
    """Return whether a subscription to `pattern` receives events published to `channel`; both must be valid."""
    pattern, channel = normalise(pattern), normalise(channel)
    if pattern.endswith("/" + _WILDCARD):
        prefix = pattern[:-1]
        return channel.startswith(prefix) and len(channel) > len(prefix)
    return pattern == channel


Value = TypeVar("Value", bound=Hashable)


class SubscriptionIndex(Generic[Value]):
    """Finds the values stored under the patterns that match a channel, by one lookup per segment.

    Patterns and channels must be normalised and valid. A value stored under several patterns matches once for each of
    them, as AWS presumably sends one `data` frame for each matching subscription (inferred).
    """

    def __init__(self) -> None:
        # A dict as an ordered set: delivery in the order of subscription keeps runs comparable.
        self._exact: dict[str, dict[Value, None]] = {}
        self._below: dict[str, dict[Value, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        """Return the number of stored (pattern, value) pairs."""
        return self._size

    def add(self, pattern: str, value: Value) -> None:
        """Store the value under the pattern; storing the same pair again changes nothing."""
        table, key = self._place(pattern)
        bucket = table.setdefault(key, {})
        if value not in bucket:
            bucket[value] = None
            self._size += 1

    def remove(self, pattern: str, value: Value) -> None:
        """Remove the value from the pattern.

        Raises:
            KeyError: the pair is not stored.
        """
        table, key = self._place(pattern)
        bucket = table[key]
        del bucket[value]
        self._size -= 1
        if not bucket:
            del table[key]

    def buckets(self, channel: str) -> Iterator[Collection[Value]]:
        """Yield the values that match the channel, in one collection per pattern.

        The collections are no copies, so the index must not change meanwhile.
        """
        bucket = self._exact.get(channel)
        if bucket:
            yield bucket.keys()
        if not self._below:
            return
        end = channel.rfind("/")
        while end > 0:
            bucket = self._below.get(channel[:end])
            if bucket:
                yield bucket.keys()
            end = channel.rfind("/", 0, end)

    def match(self, channel: str) -> list[Value]:
        """Return the values of every pattern that matches the channel."""
        return [value for bucket in self.buckets(channel) for value in bucket]

    def _place(self, pattern: str) -> tuple[dict[str, dict[Value, None]], str]:
        if pattern.endswith("/" + _WILDCARD):
            return self._below, pattern[:-2]
        return self._exact, pattern


def _segments(channel: str, normal: str) -> list[str]:
    segments = normal[1:].split("/")
    if len(segments) > CHANNEL_SEGMENTS_MAX:
        raise ChannelError(
            f"channel {_shown(channel)} has {len(segments)} segments: at most {CHANNEL_SEGMENTS_MAX} may be"
        )
    return segments


def _check_segments(channel: str, segments: list[str]) -> None:
    for number, segment in enumerate(segments, start=1):
        if _SEGMENT.fullmatch(segment):
            continue
        where = f"segment {number} of channel {_shown(channel)}"
        if not segment:
            raise ChannelError(f"{where} is empty: write segments parted by one slash, as in '/default/news'")
        if len(segment) > SEGMENT_MAX_CHARACTERS:
            raise ChannelError(
                f"{where} has {len(segment)} characters: at most {SEGMENT_MAX_CHARACTERS} are allowed"
            )
        raise ChannelError(
            f"{where} is {_shown(segment)}: it may have letters, digits and dashes, no dash at either end"
        )


def _shown(text: str) -> str:
    """Quote a text for a message, with control characters escaped and the length bounded."""
    return ascii(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
