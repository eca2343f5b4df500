"""Record the events that one life of a client's connection receives, and pass them on if Python code needs them.

A life lasts from a connect to the end of that connection; a reconnect begins the next one.
"""

import struct
from collections.abc import Callable

import msgspec

from loadgen.measure.recorder import Recorder
from loadgen.measure.rows import AlteredRow
from loadgen.measure.stamp import Stamp, decode_event
from loadgen.payloads.stamping import NOT_OURS, Marked, Reading, Stamping

_NOT_OURS = (msgspec.MsgspecError, UnicodeError, struct.error, OverflowError, RecursionError)

#: Reports use this text for a delivery to a subscription that was not requested, whatever the protocol.
DELIVERY_UNASKED = "an event came for a subscription that nobody asked for"

#: A callback for an event: (subscription id, event text, arrival in ns, time of the read in ns). See
#: `SessionHandler.on_event`.
OnEvent = Callable[[str, str, int, int], None]
#: Like `OnEvent`, for an event whose stamp was not in its text; see `SessionHandler.on_marked`.
OnMarked = Callable[[str, Marked, int, int], None]
#: A callback for a recorded event: (subscription id, event text, arrival in ns, stamp).
Examine = Callable[[str, str, int, Stamp], None]


class Deliveries:
    """Records the events of one life.

    The harness writes a stamp into each event that it publishes: run token, publisher and sequence. ``on_foreign`` is
    called with the subscription id of an event without a stamp. ``examine`` is called with each recorded event while
    :attr:`examined` is true. :attr:`numbers` maps a subscription's id to the number under which its deliveries are
    recorded; `Subscriptions` fills it.
    """

    __slots__ = ("_examine", "_on_foreign", "_recorder", "_stamping", "examined", "numbers", "on_event")

    on_event: OnEvent
    """Record a delivery; see `SessionHandler`."""

    def __init__(
        self, recorder: Recorder, examine: Examine, on_foreign: Callable[[str], None], stamping: Stamping
    ) -> None:
        self._recorder, self._examine, self._on_foreign, self._stamping = (
            recorder,
            examine,
            on_foreign,
            stamping,
        )
        self.numbers: dict[str, int] = {}
        self.examined = True
        self.on_event = self._recording(recorder, examine, on_foreign) if stamping.plain else self._on_event

    def _recording(self, recorder: Recorder, examine: Examine, on_foreign: Callable[[str], None]) -> OnEvent:
        # This is the hot path, so use a closure: its variables are faster than the attributes of an object.
        numbers, deliver, decode = self.numbers, recorder.deliver, decode_event

        def on_event(subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
            try:
                stamp = decode(event).stamp
                deliver(numbers[subscription_id], arrival_ns, read_ns, stamp)
            except KeyError:
                recorder.unknown_subscription += 1
                recorder.deviations[DELIVERY_UNASKED] += 1
                return
            except _NOT_OURS:
                # The event has no stamp, or is not JSON at all: another publisher uses the channel too.
                recorder.foreign += 1
                if subscription_id in numbers:
                    on_foreign(subscription_id)
                else:
                    recorder.deviations[DELIVERY_UNASKED] += 1
                return
            if self.examined:
                examine(subscription_id, event, arrival_ns, stamp)

        return on_event

    # The methods below handle events with a checksum, and events whose stamp the scenario puts in another place than
    # usual.

    def _on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        self._take(subscription_id, lambda: self._stamping.read(event), lambda: event, arrival_ns, read_ns)

    def on_marked(self, subscription_id: str, event: Marked, arrival_ns: int, read_ns: int) -> None:
        """Record a delivery whose stamp was not in its text, but in a property or header; see `SessionHandler`."""
        self._take(
            subscription_id,
            lambda: self._stamping.read_beside(event.stamp, event.body),
            lambda: event.body.decode(errors="replace"),
            arrival_ns,
            read_ns,
        )

    def _take(
        self,
        subscription_id: str,
        read: Callable[[], Reading],
        text: Callable[[], str],
        arrival_ns: int,
        read_ns: int,
    ) -> None:
        recorder, number = self._recorder, self.numbers.get(subscription_id)
        try:
            stamp, altered = read()
            if number is not None:
                recorder.deliver(number, arrival_ns, read_ns, stamp)
        except (*NOT_OURS, struct.error):
            recorder.foreign += 1
            if number is None:
                recorder.deviations[DELIVERY_UNASKED] += 1
            else:
                self._on_foreign(subscription_id)
            return
        if number is None:
            recorder.unknown_subscription += 1
            recorder.deviations[DELIVERY_UNASKED] += 1
            return
        if altered and stamp[0] == recorder.token:
            recorder.altered(AlteredRow(number, stamp[1], stamp[2], int(arrival_ns)))
        if self.examined:
            self._examine(subscription_id, text(), arrival_ns, stamp)
