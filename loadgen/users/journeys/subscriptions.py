"""The subscriptions (feeds) of a journey: those it has, and those it gave up but can request again.

A life of a connection lasts from a connect to its end; a reconnect begins the next one.
"""

from collections.abc import Callable, Iterator
from typing import Final

from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import JourneyPlan, SubscriptionPlan
from loadgen.users.journeys.feeds import Feed

#: Largest number of a subscription: the run's record stores these numbers as 32-bit integers.
_MOST_NUMBER: Final = (1 << 31) - 1

#: Requests a subscription again over the same connection on which it was given up.
Again = Callable[[], None]


class Feeds:
    """The feeds that a journey has, by the numbers of their subscriptions."""

    def __init__(self, rules: ProtocolRules, journey: JourneyPlan) -> None:
        self._protocol, self._journey = rules, journey
        self._feeds: dict[int, Feed] = {}
        #: Subscriptions that were given up, by channel: the plan, the number of the client's connection, and a function
        #: that requests the subscription again over the same connection.
        self._spare: dict[str, list[tuple[SubscriptionPlan, int, Again | None]]] = {}
        self._made = 0

    def __iter__(self) -> Iterator[Feed]:
        """Return an iterator over a copy, since feeds may come and go meanwhile."""
        return iter(list(self._feeds.values()))

    def get(self, subscription: int) -> Feed | None:
        """Return the feed of the subscription with this number, or None if the subscription was given up."""
        return self._feeds.get(subscription)

    def add(self, feed: Feed) -> None:
        """Add a feed."""
        self._feeds[feed.plan.number] = feed

    def remove(self, feed: Feed) -> bool:
        """Remove a feed; return False if it was already removed."""
        return self._feeds.pop(feed.plan.number, None) is not None

    def spare(self, feed: Feed, life: int, again: Again | None) -> None:
        """Keep the subscription of ``feed`` for the next feed of the same channel.

        ``life`` is the number of the client's connection on which the subscription was given up.
        """
        self._spare.setdefault(feed.channel, []).append((feed.plan, life, again))

    def plan_for(self, channel: str, life: int) -> tuple[SubscriptionPlan, Again | None]:
        """Return a subscription plan for ``channel`` that no feed uses, and a function to subscribe again or None.

        ``life`` is the number of the client's current connection. The function requests a subscription again that was
        given up on the same connection.

        Raises:
            ValueError: the run has no more numbers for subscriptions.
        """
        spare = self._spare.get(channel)
        if spare:
            plan, given_up_in, again = spare.pop()
            return plan, again if given_up_in == life else None
        number = self._journey.first_subscription + self._made * self._journey.stride
        if number > _MOST_NUMBER:
            raise ValueError("the run's journeys have made too many different subscriptions")
        self._made += 1
        return SubscriptionPlan(number, channel), None

    def demand_apart(self, channel: str) -> None:
        """Raise ValueError if the protocol cannot distinguish the channel's events from the events of another feed."""
        rules = self._protocol
        if rules.overlapping_subscriptions:
            return
        for feed in self._feeds.values():
            have = feed.channel
            if have == channel or rules.matches(have, channel) or rules.matches(channel, have):
                raise ValueError(
                    f"the client has a subscription to {have!r}, which overlaps {channel!r}: a message does not say"
                    " which of the two it belongs to"
                )
