"""The messages between clients and the backend of a WebSocket API; API Gateway lets its users choose their form.

The query of the target's URL changes names and forms; the defaults are those of the local stand-in's backend:

    client   {"action": "subscribe", "id": "1", "channel": "/a/b"}
    service  {"type": "subscribed", "id": "1", "channel": "/a/b"}
    client   {"action": "publish", "id": "2", "channel": "/a/b", "data": "…"}
    service  {"type": "published", "id": "2"}
    service  {"type": "message", "channel": "/a/b", "data": "…"}
    service  {"type": "error", "id": "2", "message": "…"}            in place of an acknowledgement

`channel` of a delivery is the channel, or the pattern, that the client subscribed to.

With `form=connections` the harness itself sends each event by a POST to `@connections`, to one connection. For that,
the answer to a subscribe must contain the connection's id:

    service  {"type": "subscribed", "id": "1", "channel": "/a/b", "connectionId": "…"}
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self

from loadgen.protocol.api_gateway import limits
from loadgen.protocol.generic.channels import matches, normalise, validate_publish, validate_subscribe
from loadgen.protocol.generic.description import ChannelForm, Delivery, Description, Exchange, KeepAlive
from loadgen.protocol.generic.patterns import Found, JsonPattern, Scalar
from loadgen.protocol.rules import ProtocolRules

TITLE: Final = "API Gateway WebSocket API"
_NAME: Final = re.compile(r"[A-Za-z0-9_$.-]{1,64}", re.ASCII)
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
#: Explanations of the gateway's own errors by their texts. The texts `Forbidden`, `Internal server error` and `Limit
#: exceeded` are assumptions.
_EXPLAINED: Final = {
    "Bad request body": "the gateway could not read the message as the route selection expects",
    "Forbidden": "no route of the API has this route key, and it has no $default route",
    "Internal server error": "the backend of the route failed, or did not answer within 29 s",
    "Limit exceeded": "too many requests for the account's or the stage's throttle",
    "Too Many Requests": "too many requests for the account's or the stage's throttle",
    "Message too long": "a message may have 128 KB",
}

Acks = Literal["all", "subscribe", "publish", "none"]


class ShapeError(ValueError):
    """A setting in the target's URL cannot be used; the message is one sentence without the setting's value."""


class GatewayError(JsonPattern):
    """Recognises errors of the gateway itself: they have `message` and `connectionId`, but no member named ``kind``."""

    __slots__ = ("_kind",)

    def __init__(self, kind: str) -> None:
        """``kind`` is the name of a JSON member that every message of the backend has."""
        super().__init__({}, {"reason": "/message"})
        self._kind = kind

    def match(self, message: Any) -> Found | None:
        """Return the text of an error of API Gateway itself, explained if known; None if the message is not one."""
        if not isinstance(message, dict) or self._kind in message:
            return None
        said = message.get("message")
        if not isinstance(said, str) or not isinstance(message.get("connectionId"), str):
            return None
        explained = _EXPLAINED.get(said)
        return Found(reason=f"API Gateway: {said}" + (f" ({explained})" if explained else ""))


class Acknowledgement(JsonPattern):
    """Recognises the answer to a subscribe, and stores the id of the connection that subscribed.

    ``addresses`` maps channels to the ids of connections. An answer without the id of its connection is not recognised.
    """

    __slots__ = ("_addresses", "_channel")

    def __init__(
        self, when: Mapping[str, Scalar], at: Mapping[str, str], channel: str, addresses: dict[str, str]
    ) -> None:
        """``channel`` is the name of the message's member that holds the channel."""
        super().__init__(when, at)
        self._channel, self._addresses = channel, addresses

    def match(self, message: Any) -> Found | None:
        """Return the values in the message, or None if it does not match."""
        found = super().match(message)
        if found is None:
            return None
        channel, connection = message.get(self._channel), message.get("connectionId")
        if not isinstance(channel, str) or not isinstance(connection, str):
            return None
        self._addresses[channel] = connection
        return found


@dataclass(frozen=True, slots=True)
class Shape:
    """The names and forms of the messages, how a connection is kept open, and how a client sends its token."""

    route: str = "action"
    """The member with the route key, as `$request.body.action` of the API's route selection expression."""
    subscribe: str = "subscribe"
    """The route key of subscribes."""
    unsubscribe: str = "unsubscribe"
    """The route key of unsubscribes, or an empty text if the backend has none."""
    publish: str = "publish"
    """The route key of publishes."""
    ping: str = "ping"
    """The route key of keepalive messages."""
    id: str = "id"
    """The member with the id of a request, which its answer repeats."""
    channel: str = "channel"
    """The member with the channel."""
    data: str = "data"
    """The member with the event."""
    type: str = "type"
    """The member that names the kind of each message of the backend."""
    subscribed: str = "subscribed"
    """The kind of a subscribe's acknowledgement."""
    unsubscribed: str = "unsubscribed"
    """The kind of an unsubscribe's acknowledgement."""
    published: str = "published"
    """The kind of a publish's acknowledgement."""
    delivered: str = "message"
    """The kind of a delivery."""
    refused: str = "error"
    """The kind of a refusal."""
    pong: str = "pong"
    """The kind of the answer to a keepalive message, which may be missing."""
    reason: str = "message"
    """The member of a refusal that gives the reason."""
    event: Literal["string", "json"] = "string"
    """The form of events: JSON texts within a string, or JSON itself."""
    acks: Acks = "all"
    """The requests that the backend answers."""
    form: Literal["backend", "connections"] = "backend"
    """Who sends events to subscribers: the API's backend, or the harness itself.

    The harness sends the events of a channel to only one connection.
    """
    wildcards: bool = False
    """True if the backend takes patterns that end in `/*`; API Gateway itself has no channels."""
    keepalive: Literal["message", "ping", "none"] = "message"
    """How a client keeps an idle connection open. It is not known whether ping frames prevent the idle timeout, so
    messages are the default."""
    keepalive_s: int = limits.KEEPALIVE_INTERVAL_S
    """Seconds between two keepalives."""
    token_in: Literal["header", "query"] = "header"  # noqa: S105  a place
    """The part of the handshake that carries the Lambda authorizer's token: a header or a query parameter."""
    token_name: str = "Authorization"  # noqa: S105  the name of a header
    """The header or query parameter with the token."""

    @classmethod
    def of(cls, settings: Iterable[tuple[str, str]]) -> Self:
        """Return the shape with the settings of a URL's query, each a name and a value.

        Raises:
            ShapeError: a name is unknown or given twice, or a value is not valid.
        """
        given: dict[str, Any] = {}
        for name, value in settings:
            if name not in KNOWN:
                raise ShapeError(f"has the query {name[:40]!a}, and known are {', '.join(KNOWN)}")
            if name in given:
                raise ShapeError(f"has the query {name!a} twice: write it once")
            given[name] = _checked(name, value)
        if "token" in given:
            given["token_in"], given["token_name"] = given.pop("token")
        made = cls(**given)
        if made.form == "connections":
            if made.acks not in ("all", "subscribe"):
                raise ShapeError(
                    "has 'form=connections', for which subscribes must be answered: leave 'acks' out"
                )
            if made.wildcards:
                raise ShapeError(
                    "has 'form=connections', which sends to one channel's connection: leave 'wildcards' out"
                )
        made._check()
        return made

    def _check(self) -> None:
        for names in (
            ("route", "id", "channel", "data"),
            ("type", "id", "channel", "data"),
            ("type", "id", "reason"),
            ("subscribed", "unsubscribed", "published", "delivered", "refused", "pong"),
            ("subscribe", "unsubscribe", "publish", "ping"),
        ):
            values = [getattr(self, name) for name in names]
            twice = [name for name, value in zip(names, values, strict=True) if values.count(value) > 1]
            if twice:
                raise ShapeError(
                    f"gives {twice[0]!a} and {twice[1]!a} the same name, so that messages cannot be told apart"
                )

    def describe(self) -> str:
        """Return the messages of a subscribe, a publish and a delivery, for the manifest."""
        event = "…" if self.event == "json" else '"…"'
        publish = f" {{{self.route}: {self.publish}, {self.id}, {self.channel}, {self.data}: {event}}},"
        return (
            f"{{{self.route}: {self.subscribe}, {self.id}, {self.channel}}},"
            f"{publish if self.form == 'backend' else ''}"
            f" {{{self.type}: {self.delivered}, {self.channel}, {self.data}: {event}}}; answered:"
            f" {_ANSWERED[self.acks]}"
        )

    def describe_publish(self) -> str:
        """Return a description of how events are published, for the manifest."""
        if self.form == "connections":
            return (
                "by the harness itself: a POST to @connections for each event, to the one connection that subscribed"
                " to its channel, 'via: websocket' included; there is no fan-out and no backend"
            )
        return (
            f"a message to the route {self.publish!a} over each client's own connection, 'via: http' included; the"
            " API's backend sends it on"
        )

    def delivery(self) -> Mapping[str, str]:
        """Return the message that a backend sends for an event, as a template of `loadgen.protocol.generic.frames`."""
        event = "{event}" if self.event == "string" else "{event_json}"
        return {self.type: self.delivered, self.channel: "{channel}", self.data: event}

    def describe_keepalive(self) -> str:
        """Return the way in which an idle connection is kept open, for the manifest."""
        if self.keepalive == "none":
            return "none: an idle connection ends after 10 minutes"
        if self.keepalive == "ping":
            return f"a WebSocket ping every {self.keepalive_s} s; that the service counts it is an assumption"
        return f"a message to the route {self.ping!a} every {self.keepalive_s} s"

    def description(self, url: str, addresses: dict[str, str]) -> Description:
        """Return the protocol of these messages, for connections to ``url``.

        With `form=connections`, each answer to a subscribe adds its channel and connection id to ``addresses``.
        """
        subscribe = self._exchange("subscribe", self.subscribe, self.subscribed)
        if self.form == "connections":
            when, at = {_pointer(self.type): self.subscribed}, {"id": _pointer(self.id)}
            subscribe = replace(subscribe, accepted=Acknowledgement(when, at, self.channel, addresses))
        event = "{event}" if self.event == "string" else "{event_json}"
        place = "event" if self.event == "string" else "event_json"
        at = {"channel": _pointer(self.channel), place: _pointer(self.data)}
        when = {_pointer(self.type): self.delivered}
        return Description(
            name=TITLE,
            channels=ChannelForm(wildcard="*" if self.wildcards else None),
            url=url,
            deliver=Delivery(JsonPattern(when, at), "channel", when, at),
            messages="json",
            subscribe=subscribe,
            unsubscribe=self._exchange("subscribe", self.unsubscribe, self.unsubscribed)
            if self.unsubscribe
            else None,
            publish=self._exchange("publish", self.publish, self.published, {self.data: event})
            if self.form == "backend"
            else None,
            ignore=[JsonPattern({_pointer(self.type): self.pong}, {})],
            errors=[
                GatewayError(self.type),
                JsonPattern({_pointer(self.type): self.refused}, {"reason": _pointer(self.reason)}),
            ],
            keepalive=None
            if self.keepalive == "none"
            else KeepAlive(
                {self.route: self.ping} if self.keepalive == "message" else None,
                self.keepalive_s * 1_000_000_000,
            ),
        )

    def _exchange(
        self, kind: Literal["subscribe", "publish"], key: str, answer: str, more: dict[str, str] | None = None
    ) -> Exchange:
        send = {self.route: key, self.id: "{id}", self.channel: "{channel}", **(more or {})}
        if self.acks not in ("all", kind):
            return Exchange(send)
        at = {"id": _pointer(self.id)}
        kind_at = _pointer(self.type)
        return Exchange(
            send,
            JsonPattern({kind_at: answer}, at),
            JsonPattern({kind_at: self.refused}, {**at, "reason": _pointer(self.reason)}),
            "id",
        )

    def rules(self) -> ProtocolRules:
        """Return the rules that scenarios are checked against, without the service's quotas."""
        return ProtocolRules(
            normalise=normalise,
            validate_publish=lambda channel: validate_publish(channel, "/"),
            validate_subscribe=lambda channel: validate_subscribe(
                channel, "/", "*" if self.wildcards else None, f"{TITLE} without ?wildcards=yes"
            ),
            matches=matches,
            publishes_per_connection_per_s=None,
            connects_per_s=None,
            events_per_s=None,
            connection_lifetime_s=None,
            publishes_over_http=self.form == "connections",
            publishes_over_connections=self.form == "backend",
            overlapping_subscriptions=False,
            subscriptions_change=bool(self.unsubscribe),
            batches=False,
        )


_ANSWERED: Final = {
    "all": "subscribes and publishes",
    "subscribe": "subscribes only",
    "publish": "publishes only",
    "none": "nothing",
}
_CHOICES: Final = {
    "event": ("string", "json"),
    "acks": ("all", "subscribe", "publish", "none"),
    "keepalive": ("message", "ping", "none"),
    "form": ("backend", "connections"),
    "wildcards": ("no", "yes"),
}
_NAMES: Final = (
    *("route", "subscribe", "unsubscribe", "publish", "ping", "id", "channel", "data", "type", "subscribed"),
    *("unsubscribed", "published", "delivered", "refused", "pong", "reason"),
)
KNOWN: Final = (*_NAMES, *_CHOICES, "keepalive_s", "token")
"""The settings that a URL's query may have."""


def _checked(name: str, value: str) -> Any:
    """Return the value of a setting; raises ShapeError."""
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ShapeError(f"has a {name!a} that is not known: it may be {' or '.join(_CHOICES[name])}")
        return value == "yes" if name == "wildcards" else value
    if name == "keepalive_s":
        if not (value.isascii() and value.isdecimal() and len(value) <= 4 and 1 <= int(value) <= 7_200):
            raise ShapeError("has a 'keepalive_s' that is not a whole number of seconds from 1 to 7200")
        return int(value)
    if name == "token":
        where, colon, what = value.partition(":")
        if where not in ("header", "query") or not colon or not _HEADER.fullmatch(what.replace("_", "-")):
            raise ShapeError(
                "has a 'token' that is not a place: write 'header:NAME' or 'query:NAME', and give the token by --auth"
            )
        return where, what
    if not _NAME.fullmatch(value) and not (name == "unsubscribe" and not value):
        raise ShapeError(
            f"has a {name!a} that is not a name: it may have letters, digits, '_', '-', '.' and '$', at most 64"
        )
    return value


def _pointer(member: str) -> str:
    return f"/{member}"
