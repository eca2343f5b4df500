"""`loadgen subscribe`: events as they come in, each with its arrival and, where it is stamped, its latency."""

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
    """There are no more events to come; one sentence."""


def latency_ns(delivery: Delivery) -> int | None:
    """Return arrival minus sending of an event that carries the harness's stamp; None: it carries none.

    Across machines this holds the difference of their clocks.
    """
    try:
        return delivery.arrival_ns - decode_event(delivery.event).stamp[4]
    except (msgspec.MsgspecError, struct.error, RecursionError):
        return None


class Listener:
    """A subscription of one's own to a channel or pattern."""

    def __init__(self, service: Service, channel: str) -> None:
        self._channel = channel
        self._deliveries: Queue = Queue()
        self._client = EventClient(service, self._deliveries.put, [channel])
        self._on_interrupt: Any = None

    def __enter__(self) -> "Listener":
        """Connect and subscribe; raises SubscribeError."""
        # Ctrl-C is how one leaves; gevent would print it before it passes it on.
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, KeyboardInterrupt)
        try:
            self._client.open()
            self._client.login()
            self._client.subscribe(self._channel)
            # From now on Ctrl-C comes by the queue: thrown into whatever runs, an exception may get lost in a wait that
            # is just ending, and with it the interrupt.
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
        """What the service did otherwise than its protocol says, each once."""
        return list(dict.fromkeys(self._client.deviations))

    def events(self, for_s: float | None = None) -> Iterator[Delivery]:
        """Yield deliveries for so long, or for ever.

        Raises:
            SubscribeError: the connection has ended.
            KeyboardInterrupt: Ctrl-C.
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
