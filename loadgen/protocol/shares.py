"""Shared subscriptions: each event goes to one member of a group of subscribers, not to all.

A shared subscription is written as MQTT writes it (MQTT 5, 4.8.2), with the leading slash of channels:
`/$share/GROUP/default/comments/*`. Subscriptions with the same group and the same pattern share their events. Only
protocols whose rules have `shared_subscriptions` support them.
"""

from typing import Final

PREFIX: Final = "/$share/"


def split(channel: str) -> tuple[str | None, str]:
    """Return the group and the pattern of a shared subscription, or (None, channel) if it is not shared.

    The channel is in its normal form. The group may be empty or invalid: `validate_subscribe` refuses such a group.
    """
    if not channel.startswith(PREFIX):
        return None, channel
    group, slash, pattern = channel.removeprefix(PREFIX).partition("/")
    return group, slash + pattern


def pattern_of(channel: str) -> str:
    """Return the pattern of channels that a subscription receives, without the group that shares it."""
    return split(channel)[1]


def group_of(channel: str) -> str | None:
    """Return the name of the group that shares a subscription, or None if it is not shared."""
    return split(channel)[0]
