"""The subscriptions of one connection: SUBSCRIBE and UNSUBSCRIBE, and the broker's acknowledgements of both."""

from collections.abc import Mapping
from typing import Any, Final

from loadgen.native import PacketFastPath
from loadgen.protocol.base import SessionHandler
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.packet_ids import PacketIds
from loadgen.protocol.mqtt.reasons import REFUSED, refusal_of, words
from loadgen.protocol.mqtt.topics import Subscriptions, filter_of, topic_of
from loadgen.protocol.mqtt.use import Use

LESS_THAN_ASKED: Final = "the broker granted QoS {} to a subscription that asked for QoS {}"
NO_SUBSCRIBE: Final = "a SUBACK belongs to no SUBSCRIBE"


class Subscribing:
    """The subscriptions of one connection.

    With a ``memory``, the client's next connection takes the subscriptions over.
    """

    __slots__ = ("_handler", "_ids", "_memory", "_use", "_waiting", "topics")

    def __init__(self, handler: SessionHandler, use: Use, memory: Memory | None, ids: PacketIds) -> None:
        self._handler, self._use, self._memory, self._ids = handler, use, memory, ids
        #: Finds the subscription that a message belongs to.
        self.topics = Subscriptions()
        #: For each SUBSCRIBE without an answer so far: the id of its subscription, by the packet's id.
        self._waiting: dict[int, str] = {}
        ids.skip(self._waiting)

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a SUBSCRIBE; from now on, messages of the channel belong to this subscription."""
        packet_id = self._ids.next()
        self._waiting[packet_id] = subscription_id
        topic_filter = filter_of(channel)
        self.topics.add(topic_of(channel), subscription_id, topic_filter)
        if self._memory is not None:
            self._memory.topics = self.topics
        wire, settings = self._use.wire, self._use.settings
        return wire.subscribe(packet_id, topic_filter, qos=settings.qos, retained=settings.retain)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return an UNSUBSCRIBE.

        Messages that still arrive belong to this subscription until its topic filter is subscribed again.
        """
        return self._use.wire.unsubscribe(self._ids.next(), self.topics.filter_of(subscription_id))

    def acknowledged(self, packet: Any, arrival_ns: int) -> None:
        """Process a SUBACK."""
        handler, asked = self._handler, self._use.settings.qos
        subscription_id = self._waiting.pop(packet.packet_id, None)
        if subscription_id is None or len(packet.reason_codes) != 1:
            handler.on_deviation(NO_SUBSCRIBE)
            return
        granted = packet.reason_codes[0]
        if int(granted) >= REFUSED:
            handler.on_subscribe_failed(
                subscription_id, words(granted, packet.reason_str), refusal_of(int(granted))
            )
            return
        if int(granted) < asked:
            handler.on_deviation(LESS_THAN_ASKED.format(int(granted), asked))
        handler.on_subscribed(subscription_id, arrival_ns)

    def ended(self, packet: Any) -> None:
        """Process an UNSUBACK."""
        for code in packet.reason_codes:
            if int(code) >= REFUSED:
                self._handler.on_service_error(f"an unsubscribe failed: {words(code, packet.reason_str)}")

    def fill(self, lane: PacketFastPath, numbers: Mapping[str, int]) -> None:
        """Give ``lane``, the C code for deliveries, each topic with the number of its subscription in ``numbers``."""
        exact, below = self.topics.by_topic()
        for topic, subscription_id in exact.items():
            lane.add(topic, numbers.get(subscription_id))
        for beginning, subscription_id in below.items():
            lane.add_below(beginning, numbers.get(subscription_id))
