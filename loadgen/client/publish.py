"""`loadgen publish`: publish one batch and, if asked for, wait for its events to arrive."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import gevent
import msgspec
from gevent.event import Event

from loadgen.client.event_client import (
    TIMEOUT_S,
    Delivery,
    EventClient,
    NoAnswerError,
    ServiceRefusedError,
    look_at_the_clock,
)
from loadgen.client.http import HttpPublisher
from loadgen.measure.clock import now_ns
from loadgen.measure.stamp import STAMP_KEY
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.transport.errors import TransportError

Via = Literal["http", "websocket"]


class PublishError(Exception):
    """The batch was not published; the message is one sentence."""


def as_events(arguments: Sequence[str]) -> list[str]:
    """Return each argument as an event's JSON text; an argument that is not JSON, such as `hello`, becomes a string."""
    events = []
    for argument in arguments:
        try:
            msgspec.json.decode(argument)
        except (msgspec.DecodeError, RecursionError):
            events.append(json.dumps(argument, ensure_ascii=False))
        else:
            events.append(argument)
    return events


def require_objects(events: Sequence[str]) -> None:
    """Check that every event can be stamped; raises PublishError if one is not a JSON object."""
    if not all(isinstance(msgspec.json.decode(event), dict) for event in events):
        raise PublishError("--stamp adds a member to events that are JSON objects: one of these is not")


def _stamped(event: str) -> str:
    """Return the event with a stamp of the current time, from which `loadgen subscribe` computes a latency."""
    content: Any = msgspec.json.decode(event)
    sent_ns = now_ns()
    return msgspec.json.encode({**content, STAMP_KEY: [0, 0, 0, sent_ns, sent_ns]}).decode()


class Publication:
    """One batch: `send` publishes it and, if ``wait`` is set, waits until `arrivals` has the times of its events.

    ``events`` are JSON texts. With ``stamp`` the time of sending is added to each, so all must pass `require_objects`.
    """

    def __init__(
        self,
        service: Service,
        channel: str,
        events: list[str],
        via: Via = "http",
        *,
        wait: bool = False,
        stamp: bool = False,
    ) -> None:
        self._service = service
        self._channel = channel
        self.events = events
        self._stamp = stamp
        self._via = via
        self._wait = wait
        self._deliveries: list[Delivery] = []
        self._complete = Event()
        self._expected: int | None = None
        self.sent_ns = 0
        #: Deviations of the service from its protocol, each once.
        self.deviations: list[str] = []

    def send(self) -> tuple[PublishAnswer, float]:
        """Publish and return the answer and its latency (s); with ``wait``, wait up to 10 s for the events.

        Raises:
            PublishError: the service could not be reached, did not answer, or refused the connection or subscription.
        """
        client = EventClient(self._service, self._on_event, [self._channel])
        needed = self._wait or self._via == "websocket"
        try:
            if needed:
                client.open()
                client.login()
                if self._wait:
                    client.subscribe(self._channel)
            if self._via == "http":
                with HttpPublisher(self._service) as publisher:
                    self._begin()
                    answer, elapsed_s = publisher.post(self._channel, self.events)
            else:
                self._begin()
                answer = client.publish(self._channel, self.events)
                elapsed_s = (now_ns() - self.sent_ns) / 1e9
            if self._wait and answer.error is None:
                self._expected = len(self.events) - len(answer.rejected)
                self._check()
                look_at_the_clock()
                self._complete.wait(TIMEOUT_S)
        except (ServiceRefusedError, NoAnswerError, TransportError) as error:
            raise PublishError(str(error)) from None
        finally:
            self.deviations = list(dict.fromkeys(client.deviations))
            if needed:
                client.close()
            gevent.sleep(0)
        return answer, elapsed_s

    def arrivals(self) -> list[int | None]:
        """Return the arrival of each event (ns since the epoch), or None for an event that did not arrive."""
        waiting = list(self._deliveries)
        arrivals: list[int | None] = []
        for event in self.events:
            match = next((delivery for delivery in waiting if delivery.event == event), None)
            arrivals.append(match.arrival_ns if match else None)
            if match is not None:
                waiting.remove(match)
        return arrivals

    def _begin(self) -> None:
        self.sent_ns = now_ns()
        if self._stamp:
            self.events = [_stamped(event) for event in self.events]

    def _on_event(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._check()

    def _check(self) -> None:
        if self._expected is None:
            return
        if sum(arrival is not None for arrival in self.arrivals()) >= self._expected:
            self._complete.set()
