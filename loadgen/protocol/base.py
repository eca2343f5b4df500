"""The seam between the harness and a service's wire protocol.

A service is one package that provides a :class:`Service`; users, transport and measurement know only these names.
Everything here is free of I/O: a session is given messages and returns the bytes to send.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from loadgen.native import Lane, Rows


@dataclass(frozen=True, slots=True)
class Handshake:
    """What to offer in the WebSocket handshake."""

    url: str
    subprotocols: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A publish request over HTTP; headers may hold credentials and are never shown."""

    body: bytes
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """The service's answer to one publish request.

    ``error`` says why the whole request was refused; ``rejected`` maps the index of an event in the request to why that
    event was.
    """

    error: str | None = None
    rejected: Mapping[int, str] = field(default_factory=dict)


class SessionHandler(Protocol):
    """What a connection's owner is told. Called from the hub: must not block and must not raise."""

    def on_connected(self, arrival_ns: int) -> None:
        """The service accepted the connection."""

    def on_refused(self, reason: str) -> None:
        """The service refused the connection."""

    def on_subscribed(self, subscription_id: str, arrival_ns: int) -> None:
        """The service acknowledged a subscription."""

    def on_subscribe_failed(self, subscription_id: str, reason: str) -> None:
        """The service refused a subscription."""

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        """An event was delivered; ``event`` is its text as it was published."""

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """A publish over this connection was answered."""

    def on_undecodable(self, reason: str) -> None:
        """A message could not be read."""

    def on_deviation(self, what: str) -> None:
        """The service did something else than its protocol says; it was understood all the same."""

    def on_service_error(self, reason: str) -> None:
        """The service reported an error that belongs to no request."""


class Session(Protocol):
    """One connection's conversation."""

    #: The service promises to be heard within this time; None until it said so.
    timeout_ns: int | None

    def opening(self) -> Sequence[bytes]:
        """Return the messages to send when the connection has opened."""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that asks for a subscription."""

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""

    def publish(self, publish_id: str, channel: str, events: Sequence[str]) -> bytes:
        """Return the message that publishes a batch."""

    def receive(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Take a message from the service and tell the handler."""

    def lane(self, rows: Rows, numbers: Mapping[str, int]) -> Lane | None:
        """Return what takes stamped deliveries in `receive`'s stead and writes them to ``rows``.

        ``numbers`` says which number each subscription id has there. None: everything goes to `receive`.
        """


class Service(Protocol):
    """A target service: where it is, how to log in, how to speak."""

    ws_url: str
    http_url: str

    def handshake(self) -> Handshake:
        """Return what to offer when connecting; asked anew for every connection."""

    def session(self, handler: SessionHandler) -> Session:
        """Return a fresh conversation."""

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the HTTP request that publishes a batch."""

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Read the answer to it."""

    def channel_for(self, pattern: str) -> str:
        """Return a channel to publish on that a subscription to ``pattern`` receives."""
