"""Two further steps of a probe: a wildcard over several levels, and a login that must be refused.

A run would not show these faults. A subscription to `/chat/*` may silently miss the events of `/chat/a/b`, and a
service may accept a wrong login.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import gevent

from loadgen.client.event_client import (
    TIMEOUT_S,
    Delivery,
    EventClient,
    NoAnswerError,
    ServiceRefusedError,
)
from loadgen.client.frames import Frames
from loadgen.client.http import HttpPublisher
from loadgen.client.steps import SkippedError, StepError, own_event
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import HandshakeRefusedError, TransportError

#: Appended to a channel of fewer than three segments, to make one that only a wildcard over several levels matches.
_SEGMENT: Final = "loadgen-probe"
_DEEPER: Final = "deep"
_PUBLISH_INTERVAL_S: Final = 0.25
#: Seconds to wait for events of the deep channel (two levels below the wildcard), once events of the shallow channel
#: (one level below) have begun to arrive.
_PATIENCE_S: Final = 3.0
#: Made-up credentials that belong to no user. The check never sends an altered copy of the user's own secret.
_MADE_UP: Final = "loadgen-probe-wrong-login"
_MADE_UP_KEY_ID: Final = "AKIALOADGENPROBE"
_DEFAULT_REGION: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class DeepWildcard:
    """Subscribes to `/ns/*` and publishes to `/ns/a` and `/ns/a/b`.

    Events go to both channels until one arrives from `/ns/a/b`, since a service may lose events just after it has
    accepted a subscription. Events from `/ns/a` show that the subscription is live.
    """

    service: Service
    rules: ProtocolRules
    channel: str
    dialer: Dialer
    frames: Frames | None
    over_http: bool

    def run(self) -> str:
        """Try the wildcard, and return the detail to report.

        Raises:
            SkippedError: the protocol has no wildcards over several levels, or the login may not subscribe to one.
            StepError: no event of the deep channel has arrived.
        """
        pattern, shallow, deep = self._channels()
        arrived: set[str] = set()
        channel_of: dict[str, str] = {}

        def on_event(delivery: Delivery) -> None:
            if delivery.event in channel_of:
                arrived.add(channel_of[delivery.event])

        client = EventClient(self.service, on_event, [pattern], dialer=self.dialer, frames=self.frames)
        try:
            try:
                client.open()
                client.login()
                client.subscribe(pattern)
            except ServiceRefusedError as error:
                raise SkippedError(f"{pattern} cannot be subscribed to here ({error})") from None
            except (NoAnswerError, TransportError) as error:
                raise StepError(str(error), "try again; the steps above had the same login") from None
            publish, close = self._publisher(client)
            try:
                self._publish_until(deep, [shallow, deep], arrived, channel_of, publish)
            finally:
                close()
        finally:
            client.close()
        if deep in arrived:
            return f"{pattern} gets events two levels below"
        if shallow in arrived:
            raise StepError(
                f"a subscription to {pattern} gets events of {shallow}, and none of {deep}",
                "the service's '*' stands for one level, and the protocol's for several: subscribe to each level, or"
                " a run counts the deeper channels' events as lost",
            )
        raise StepError(
            f"a subscription to {pattern} gets neither events of {shallow} nor of {deep}",
            "the service may not have wildcards, or a handler filters these channels",
        )

    def _channels(self) -> tuple[str, str, str]:
        """Return a pattern, a channel one level below it, and a channel two levels below it."""
        parts = self.channel.strip("/").split("/")
        first = parts[0]
        pattern = f"/{first}/*"
        shallow = f"/{first}/{parts[1] if len(parts) > 1 else _SEGMENT}"
        deep = f"/{'/'.join(parts)}" if len(parts) > 2 else f"{shallow}/{_DEEPER}"
        try:
            self.rules.validate_subscribe(pattern)
            for channel in (shallow, deep):
                self.rules.validate_publish(channel)
        except ValueError as error:
            raise SkippedError(str(error)) from None
        if not self.rules.matches(pattern, deep):
            raise SkippedError(f"in this protocol {pattern} does not match {deep}")
        return pattern, shallow, deep

    def _publisher(
        self, client: EventClient
    ) -> tuple[Callable[[str, str], PublishAnswer], Callable[[], None]]:
        if not self.over_http:
            return lambda channel, event: client.publish(channel, [event]), lambda: None
        http = HttpPublisher(self.service, self.dialer, self.frames)
        http.__enter__()
        return (
            lambda channel, event: http.post(channel, [event])[0],
            lambda: http.__exit__(None, None, None),
        )

    def _publish_until(
        self,
        wanted: str,
        channels: list[str],
        arrived: set[str],
        channel_of: dict[str, str],
        publish: Callable[[str, str], PublishAnswer],
    ) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        while wanted not in arrived and time.monotonic() < deadline_s:
            for channel in channels:
                event, _ = own_event()
                channel_of[event] = channel
                if self.frames is not None:
                    self.frames.vouch(event)
                self._must_be_accepted(channel, partial(publish, channel, event))
            until_s = time.monotonic() + _PUBLISH_INTERVAL_S
            while wanted not in arrived and time.monotonic() < until_s:
                gevent.sleep(0.005)
            if arrived:
                deadline_s = min(deadline_s, time.monotonic() + _PATIENCE_S)

    def _must_be_accepted(self, channel: str, publish: Callable[[], PublishAnswer]) -> None:
        advice = "check that the mode may publish to every channel of the namespace"
        try:
            answer = publish()
        except (ServiceRefusedError, NoAnswerError, TransportError) as error:
            raise StepError(f"{channel}: {error}", advice) from None
        if reason := answer.error or answer.rejected.get(0):
            raise StepError(f"{channel}: {reason}", advice)


@dataclass(frozen=True, slots=True)
class WrongLogin:
    """Checks that the target refuses ``service``, whose login is made up.

    Without a service the check is skipped, and ``why_not`` gives the reason.
    """

    service: Service | None
    why_not: str = ""

    @classmethod
    def of(cls, make: Callable[[Any], Service], mode: str | None, region: str | None = None) -> "WrongLogin":
        """Return the check for ``mode``, the mode of a `loadgen.scenario.login.Login` or None for an anonymous client.

        ``make`` returns the service with a login of that mode, or raises ValueError if the two do not fit together.
        """
        if mode is None:
            return cls(None, "the target is used without a login")
        made_up = _made_up(mode, region or _DEFAULT_REGION)
        if made_up is None:
            return cls(None, f"no wrong login of mode {mode} can be made up")
        try:
            return cls(make(made_up))
        except ValueError as error:
            return cls(None, str(error))

    def run(self, channel: str, dialer: Dialer, frames: Frames | None, *, over_http: bool) -> str:
        """Try the wrong login, and return the detail to report: the names of the errors with which it was refused.

        Raises:
            SkippedError: there is no login, or none can be made up.
            StepError: the service has accepted the wrong login, or it is unknown whether it did.
        """
        if self.service is None:
            raise SkippedError(self.why_not)
        seen = [_refusal_of(self.service, channel, dialer, frames)]
        if over_http:
            seen.append(_http_refusal_of(self.service, channel, dialer, frames))
        # Give only the errors' names, since their messages repeat that the login was refused.
        return f"refused: {', '.join(dict.fromkeys(reason.partition(': ')[0] for reason in seen))}"


_ACCEPTED_ADVICE: Final = (
    "anyone may use this target: check which login it wants, and that an authorizer does not allow every"
    " token"
)


def _refusal_of(service: Service, channel: str, dialer: Dialer, frames: Frames | None) -> str:
    """Return why a client that connects and subscribes is refused; raises StepError if it is not."""
    client = EventClient(service, lambda _: None, [channel], dialer=dialer, frames=frames)
    try:
        client.open()
        client.login()
        client.subscribe(channel)
        if not service.answers_subscribes:
            # A service that does not answer a subscribe may report its refusal as an error, or end the connection.
            raise SkippedError("the service answers neither the login nor the subscribe")
    except (ServiceRefusedError, HandshakeRefusedError) as error:
        return str(error)
    except (NoAnswerError, TransportError) as error:
        raise StepError(
            f"with a wrong login: {error}", "the service does not say that it refuses the login"
        ) from None
    finally:
        with suppress(TransportError):
            client.close()
    raise StepError(f"a made-up login may connect, and subscribe to {channel}", _ACCEPTED_ADVICE)


def _http_refusal_of(service: Service, channel: str, dialer: Dialer, frames: Frames | None) -> str:
    """Return why a publish over HTTP is refused; raises StepError if it is not."""
    event, _ = own_event()
    if frames is not None:
        frames.vouch(event)
    try:
        with HttpPublisher(service, dialer, frames) as publisher:
            answer, _ = publisher.post(channel, [event])
    except TransportError as error:
        raise StepError(
            f"with a wrong login: {error}", "the service does not say that it refuses the login"
        ) from None
    if answer.error is None:
        raise StepError(f"a made-up login may publish to {channel} over HTTP", _ACCEPTED_ADVICE)
    return answer.error


def _made_up(mode: str, region: str) -> Any:
    """Return a made-up login for the mode, or None if the mode has no login to make up."""
    match mode:
        case "api-key":
            from loadgen.protocol.appsync.auth import ApiKey

            return ApiKey(f"da2-{_MADE_UP}")
        case "cognito" | "oidc" | "lambda":
            from loadgen.protocol.appsync.auth import BearerToken

            return BearerToken(lambda: _MADE_UP)
        case "iam":
            from botocore.credentials import ReadOnlyCredentials

            from loadgen.protocol.appsync.sigv4 import IamSignature

            nobody = ReadOnlyCredentials(_MADE_UP_KEY_ID, _MADE_UP, None)
            return IamSignature(lambda: nobody, region)
        case "password":
            from loadgen.protocol.mqtt.auth import UserPassword

            return UserPassword(_MADE_UP, _MADE_UP)
    return None
