"""Check a scenario's channels for a generic service: segments between slashes, and `*` at the end of a pattern.

As on AppSync Events, the `*` stands for one or more segments, so that a scenario means the same on each target.
"""

import re

_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_SEGMENTS_MAX = 50
_SHOWN_CHARACTERS = 80


class ChannelError(ValueError):
    """A channel or pattern that cannot be used; the message is one sentence."""


def normalise(channel: str) -> str:
    """Return the channel with one leading slash and without a trailing slash."""
    return "/" + channel.removeprefix("/").removesuffix("/")


def matches(pattern: str, channel: str) -> bool:
    """Return whether a subscription to `pattern` receives events published to `channel`; both must be valid."""
    pattern, channel = normalise(pattern), normalise(channel)
    if pattern.endswith("/*"):
        prefix = pattern[:-1]
        return channel.startswith(prefix) and len(channel) > len(prefix)
    return pattern == channel


def validate_publish(channel: str, separator: str) -> str:
    """Return the normalised channel if events may be published to it.

    Raises:
        ChannelError: a segment is empty, holds anything but letters, digits, '-' and '_', or holds the separator.
    """
    normal = normalise(channel)
    segments = normal[1:].split("/")
    if "*" in segments:
        raise ChannelError(
            f"channel {_shown(channel)} has a '*', which only a subscription may have: publish to one channel"
        )
    return _checked(channel, normal, segments, separator)


def validate_subscribe(channel: str, separator: str, wildcard: str | None, service: str) -> str:
    """Return the normalised channel or pattern if it may be subscribed to.

    Raises:
        ChannelError: a segment is not valid (see :func:`validate_publish`), or the channel has a `*` before its end, or
            at its end although the service has no wildcards (``wildcard`` is None).
    """
    normal = normalise(channel)
    segments = normal[1:].split("/")
    if segments[-1] == "*" and len(segments) > 1:
        if wildcard is None:
            raise ChannelError(
                f"channel {_shown(channel)} has a '*', and {service} has no wildcards: subscribe to whole channels"
            )
        segments = segments[:-1]
    if "*" in segments:
        raise ChannelError(
            f"channel {_shown(channel)} has a '*' before its end: only the last of several segments may be '*'"
        )
    return _checked(channel, normal, segments, separator)


def _checked(channel: str, normal: str, segments: list[str], separator: str) -> str:
    if len(segments) > _SEGMENTS_MAX:
        raise ChannelError(
            f"channel {_shown(channel)} has {len(segments)} segments: at most {_SEGMENTS_MAX} may be"
        )
    for number, segment in enumerate(segments, start=1):
        if not _SEGMENT.fullmatch(segment):
            raise ChannelError(
                f"segment {number} of channel {_shown(channel)} is {_shown(segment)}: it may have letters, digits,"
                " '-' and '_'"
            )
        if separator != "/" and separator in segment:
            raise ChannelError(
                f"segment {number} of channel {_shown(channel)} holds {separator!a}, with which the protocol file"
                " joins segments"
            )
    return normal


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "...")
