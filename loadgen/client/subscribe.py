"""`loadgen subscribe`: receive events, each with its arrival time and, if stamped, its latency."""

import signal
import struct
import time
from collections.abc import Iterator
from typing import Any

import gevent
import msgspec
from gevent.queue import Empty, Queue

from loadgen.client.event_client import (
    Delivery,
    EventClient,
    NoAnswerError,
    ServiceRefusedError,
    look_at_the_clock,
)
from loadgen.measure.stamp import decode_event
from loadgen.protocol.base import Service
from loadgen.transport.errors import TransportError

_LOOK_S = 0.5


class SubscribeError(Exception):
    """The subscription failed or the connection ended; the message is one sentence."""


def latency_ns(delivery: Delivery) -> int | None:
    """Return a delivery's latency (arrival minus time of sending), or None if the event carries no stamp.

    If another machine published the event, the difference between the two clocks is included.
    """
    try:
        return delivery.arrival_ns - decode_event(delivery.event).stamp[4]
    except (msgspec.MsgspecError, struct.error, RecursionError):
        return None


class Listener:
    """A connection with one subscription to a channel or pattern; use it as a context manager."""

    def __init__(self, service: Service, channel: str) -> None:
        self._channel = channel
        self._deliveries: Queue = Queue()
        self._client = EventClient(service, self._deliveries.put, [channel])
        self._on_interrupt: Any = None

    def __enter__(self) -> "Listener":
        """Connect, log in and subscribe; raises SubscribeError if one of them fails."""
        # Ctrl-C is the normal way to stop: keep gevent from printing a traceback for it.
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
        try:
            self._client.open()
            self._client.login()
            self._client.subscribe(self._channel)
            # Deliver Ctrl-C through the queue from now on: an exception raised in whichever greenlet is running can get
            # lost in a wait that is just ending.
            self._on_interrupt = gevent.signal_handler(signal.SIGINT, self._deliveries.put, None)
        except (ServiceRefusedError, NoAnswerError, TransportError) as error:
            self._client.close()
            raise SubscribeError(str(error)) from None
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        if self._on_interrupt is not None:
            self._on_interrupt.cancel()
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._client.close()

    @property
    def deviations(self) -> list[str]:
        """Ways in which the service deviated from its protocol, without repetitions."""
        return list(dict.fromkeys(self._client.deviations))

    def events(self, for_s: float | None = None) -> Iterator[Delivery]:
        """Yield deliveries for ``for_s`` seconds, or without end if it is None.

        Raises:
            SubscribeError: the connection has ended.
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        deadline = None if for_s is None else time.monotonic() + for_s
        while True:
            left_s = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
            if left_s <= 0:
                return
            look_at_the_clock()
            try:
                delivery = self._deliveries.get(timeout=left_s)
            except Empty:
                if self._client.ended.is_set():
                    raise SubscribeError(self._client.why) from None
                continue
            if delivery is None:
                raise KeyboardInterrupt
            yield delivery
