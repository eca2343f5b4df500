"""`loadgen probe`: check a target step by step, from DNS to a delivery, and report the first step that fails."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gevent.queue import Empty, Queue

from loadgen.client.event_client import (
    TIMEOUT_S,
    Delivery,
    EventClient,
    NoAnswerError,
    ServiceRefusedError,
    look_at_the_clock,
)
from loadgen.client.frames import Frames
from loadgen.client.further_checks import DeepWildcard, WrongLogin
from loadgen.client.http import HttpPublisher
from loadgen.client.network import PROXY_ADVICE, Network
from loadgen.client.steps import SkippedError, Step, StepError, own_event
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.rules import ProtocolRules
from loadgen.transport import proxy
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for the steps whose failure has a different likely cause with each protocol."""

    websocket: str
    login: str
    subscribe: str
    publish_http: str
    publish_websocket: str
    publish: str
    delivery: str


APPSYNC_ADVICE: Final = Advice(
    websocket="check that the URL ends in /event and is that of an Event API",
    login="check the key or token, that it has not expired, and that the mode may connect",
    subscribe="check that the namespace exists and that the mode may subscribe there (--channel names another)",
    publish_http="check that POST /event reaches the service",
    publish_websocket="publishing over WebSocket may be switched off, or the mode may not publish",
    publish="check that the namespace exists and that the mode may publish there",
    delivery="a handler may have filtered it; right after subscribe_success AWS may lose events: try again",
)
GRAPHQL_ADVICE: Final = Advice(
    websocket="check that the URL ends in /graphql and is that of a GraphQL API; '?auth=query' in it sends the"
    " authorization in the query",
    login="check the key or token, that it has not expired, and that the API has this authorization mode",
    subscribe="check the names in the URL's query, or its operations file, against the API's schema"
    " (docs/appsync-graphql.md), and that the mode may use the subscription",
    publish_http="check that POST to the URL reaches the service",
    publish_websocket="mutations go over HTTP",
    publish="check the names in the URL's query, or its operations file, against the API's schema"
    " (docs/appsync-graphql.md), and that the mode may use the mutation",
    delivery="check that the subscription listens to the mutation (@aws_subscribe); right after start_ack AWS may lose"
    " events: try again",
)
FILE_ADVICE: Final = Advice(
    websocket="compare connect.url, subprotocols and headers of the protocol file with what the service wants",
    login="compare 'opening' of the protocol file with what the service sends and wants",
    subscribe="compare 'subscribe' of the protocol file with what the service sends and wants (--channel names another"
    " channel)",
    publish_http="compare publish.http.url of the protocol file with what the service wants",
    publish_websocket="compare publish.websocket of the protocol file with what the service sends and wants",
    publish="compare 'publish' of the protocol file with what the service sends and wants",
    delivery="compare 'deliver' of the protocol file with what the service sends, and 'channels' with its names",
)


class Probe:
    """A check of one service; `run` yields each step when it is done.

    ``over_http`` and ``over_connection`` select the ways of publishing to try. ``with_frames`` collects the sent and
    received frames in :attr:`frames`. ``rules`` and ``wrong_login`` add a further step each (see `further_checks`); if
    one of the two fails, the other is still tried.
    """

    def __init__(
        self,
        service: Service,
        channel: str,
        *,
        over_http: bool = True,
        over_connection: bool = True,
        advice: Advice = APPSYNC_ADVICE,
        with_frames: bool = False,
        rules: ProtocolRules | None = None,
        wrong_login: WrongLogin | None = None,
    ) -> None:
        self._service = service
        #: The frames sent and received, or None if the caller did not ask for them.
        self.frames = Frames(service.shown, [channel]) if with_frames else None
        self._channel = channel
        self._advice = advice
        # Any host is allowed: the user has named the target.
        self._dialer = Dialer(allow_remote=True)
        self._ways: list[tuple[str, Callable[[], str]]] = []
        if over_http:
            self._ways += [("publish over HTTP", self._publish_http), ("delivery", self._delivery)]
        if over_connection:
            self._ways += [("publish over WebSocket", self._publish_websocket), ("delivery", self._delivery)]
        self._deliveries: Queue = Queue()
        self._client: EventClient | None = None
        self._further: list[tuple[str, Callable[[], str]]] = []
        if rules is not None:
            deep = DeepWildcard(service, rules, channel, self._dialer, self.frames, over_http=over_http)
            self._further.append(("deep wildcard", deep.run))
        if wrong_login is not None:
            its = wrong_login
            self._further.append(
                (
                    "wrong login",
                    lambda: its.run(channel, self._dialer, self.frames, over_http=over_http),
                )
            )
        #: True if the connection is a stream in an HTTP answer, not a WebSocket.
        self._by_http = service.connect_url.startswith("http")
        urls = (service.http_url if over_http else None, service.connect_url)
        self._network = Network([urlsplit(url) for url in urls if url is not None], self._dialer)

    def run(self) -> Iterator[Step]:
        """Yield each step when it is done; after a failed step up to `subscribe`, yield the later ones as not tried."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("DNS", self._network.dns),
            ("TCP", self._network.tcp),
            ("TLS", self._network.tls),
            ("event stream" if self._by_http else "WebSocket", self._connection),
            ("login", self._login),
            ("subscribe", self._subscribe),
            *self._ways,
        ]
        failed = False
        try:
            for name, step in steps:
                done = Step(name, None) if failed else self._done(name, step)
                failed = failed or done.ok is False
                yield done
        finally:
            if self._client is not None:
                self._client.close()
        for name, step in self._further:
            yield Step(name, None) if failed else self._done(name, step)

    def _done(self, name: str, step: Callable[[], str]) -> Step:
        begun = time.perf_counter()
        if self.frames is not None:
            self.frames.step = name
        try:
            return Step(name, True, detail=step(), elapsed_ms=_since_ms(begun))
        except SkippedError as skipped:
            return Step(name, None, detail=f"skipped: {skipped}")
        except StepError as failure:
            return Step(name, False, _since_ms(begun), str(failure), failure.advice)

    # The steps: each returns the detail to report, or raises StepError.

    def _connection(self) -> str:
        self._client = EventClient(
            self._service, self._deliveries.put, [self._channel], dialer=self._dialer, frames=self.frames
        )
        try:
            self._client.open()
        except proxy.ProxyError as error:
            raise StepError(str(error), PROXY_ADVICE) from None
        except (HandshakeRefusedError, NotNowError) as error:
            raise StepError(str(error), _fitting(error, self._advice.websocket)) from None
        except TransportError as error:
            kind = "event streams" if self._by_http else "WebSockets"
            raise StepError(
                str(error), f"something on the way does not pass {kind}: try without a proxy"
            ) from None
        stamps = "kernel timestamps" if self._client.socket.kernel_timestamps else "no kernel timestamps"
        return f"{'answered with an event stream' if self._by_http else 'upgraded'}, {stamps}"

    def _login(self) -> str:
        client = self._connected()
        self._said(client.login, self._advice.login)
        if not self._service.answers_opening:
            return f"none: the service has accepted with {'its answer' if self._by_http else 'the upgrade'}"
        timeout_ns = client.keepalive_timeout_ns
        return "accepted" if timeout_ns is None else f"accepted, keep-alive timeout {timeout_ns / 1e9:g} s"

    def _subscribe(self) -> str:
        client = self._connected()
        self._said(lambda: client.subscribe(self._channel), self._advice.subscribe)
        return self._channel + (
            "" if self._service.answers_subscribes else ", which the service does not answer"
        )

    def _publish_http(self) -> str:
        try:
            with HttpPublisher(self._service, self._dialer, self.frames) as publisher:
                self._event, self._sent_ns = self._new_event()
                answer, _ = publisher.post(self._channel, [self._event])
        except TransportError as error:
            raise StepError(f"no answer that can be used: {error}", self._advice.publish_http) from None
        return self._accepted(answer)

    def _publish_websocket(self) -> str:
        client = self._connected()
        self._event, self._sent_ns = self._new_event()
        answer: list[PublishAnswer] = []
        self._said(
            lambda: answer.append(client.publish(self._channel, [self._event])),
            self._advice.publish_websocket,
        )
        return self._accepted(answer[0])

    def _delivery(self) -> str:
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            look_at_the_clock()
            try:
                delivery: Delivery = self._deliveries.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                said = "".join(f"; {what}" for what in dict.fromkeys(self._connected().deviations))
                raise StepError(
                    f"the event did not arrive within {TIMEOUT_S:g} s{said}", self._advice.delivery
                ) from None
            if delivery.event == self._event:
                client = self._connected()
                text = f"{(delivery.arrival_ns - self._sent_ns) / 1e6:.3f} ms after it was sent"
                return text + "".join(f"; {what}" for what in dict.fromkeys(client.deviations))

    # Internals.

    def _new_event(self) -> tuple[str, int]:
        event, sent_ns = own_event()
        if self.frames is not None:
            self.frames.vouch(event)
        return event, sent_ns

    def _connected(self) -> EventClient:
        assert self._client is not None
        return self._client

    def _said(self, ask: Callable[[], object], advice: str) -> None:
        try:
            ask()
        except (ServiceRefusedError, NoAnswerError, TransportError) as error:
            raise StepError(str(error), _fitting(error, advice)) from None

    def _accepted(self, answer: PublishAnswer) -> str:
        reason = answer.error or answer.rejected.get(0)
        if reason is not None:
            refusal = answer.refusal
            raise StepError(reason, refusal.advice if refusal and refusal.again else self._advice.publish)
        return "accepted" if answer.acknowledged else "sent, which the service does not answer"


def _fitting(error: Exception, advice: str) -> str:
    """Return the advice that the error itself has, or else the step's ``advice``.

    Only the refusal of a handshake and a refusal for the moment have their own advice.
    """
    refusal: Refusal | None = getattr(error, "refusal", None)
    if refusal is None or (isinstance(error, ServiceRefusedError) and not refusal.again):
        return advice
    return refusal.advice


def _since_ms(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 3)
