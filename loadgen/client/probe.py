"""`loadgen probe`: check a target step by step, from DNS to a delivery, and report the first step that fails."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

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
from loadgen.client.steps import SkippedError, Step, StepError, own_event
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.rules import ProtocolRules
from loadgen.transport import proxy
from loadgen.transport.dialing import Dialer, remote_of
from loadgen.transport.errors import HandshakeRefusedError, NotNowError, TransportError
from loadgen.transport.names import loopback_addresses

DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_EXPIRY_WARNING_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for each step that can fail in a way specific to the protocol."""

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
    received frames in :attr:`frames`. With ``rules`` and ``wrong_login`` two further steps follow, which are tried even
    if one of them fails: see `further_checks`.
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
        self._urls = [urlsplit(url) for url in urls if url is not None]

    def run(self) -> Iterator[Step]:
        """Yield each step when it is done; once one of the basic steps fails, yield all later steps as not tried."""
        steps: list[tuple[str, Callable[[], str]]] = [
            ("DNS", self._dns),
            ("TCP", self._tcp),
            ("TLS", self._tls),
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

    def _dns(self) -> str:
        seen = []
        for host in dict.fromkeys(_place(url)[0] for url in self._urls):
            try:
                found = loopback_addresses(host) or tuple(
                    str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                )
            except OSError as error:
                raise StepError(
                    f"{host} has no address ({error.strerror or error})",
                    "check the URL for typing errors, and that this machine can resolve names",
                ) from None
            seen.append(f"{host} is {', '.join(dict.fromkeys(found))}")
        return "; ".join([*seen, *self._left_to_proxies()])

    def _tcp(self) -> str:
        seen = []
        for host, port in dict.fromkeys(_place(url) for url in self._urls):
            look_at_the_clock()
            try:
                with self._dialer.connect(host, port, TIMEOUT_S) as raw:
                    remote = remote_of(raw)
            except TransportError as error:
                raise StepError(
                    f"{host}:{port} does not take connections ({_reason(error, host, port)})",
                    "check the port, that the service is running, and firewalls or proxies on the way",
                ) from None
            seen.append(f"{host}:{port}" + ("" if remote in (None, f"{host}:{port}") else f" at {remote}"))
        return "connected to " + "; ".join([" and ".join(seen), *self._left_to_proxies()])

    def _tls(self) -> str:
        secure = [url for url in self._urls if url.scheme in ("https", "wss")]
        if not secure:
            return "none: the target is not encrypted"
        seen = []
        for host, port, through in dict.fromkeys(
            (_host(url), _port(url), proxy.route(url.geturl())) for url in secure
        ):
            context = ssl.create_default_context()
            try:
                look_at_the_clock()
                with (
                    self._dialer.connect(host, port, TIMEOUT_S, through) as raw,
                    _blocking(context, raw, host) as wrapped,
                ):
                    certificate = wrapped.getpeercert() or {}
                    version = wrapped.version() or "TLS"
            except proxy.ProxyError as error:
                raise StepError(
                    str(error), "ask who runs the proxy, or name the host in NO_PROXY, or try --no-proxy"
                ) from None
            except ssl.SSLCertVerificationError as error:
                raise StepError(
                    f"{host}: the certificate is not trusted ({error.verify_message})",
                    "name the file of a private authority with SSL_CERT_FILE, or check the host name",
                ) from None
            except (OSError, TransportError) as error:
                raise StepError(
                    f"{host}:{port} does not speak TLS ({_reason(error, host, port)})",
                    "check that the URL's scheme and port are those of the service",
                ) from None
            seen.append(f"{host} {version}, {_expiry(certificate)}")
        return "; ".join(seen)

    def _connection(self) -> str:
        self._client = EventClient(
            self._service, self._deliveries.put, [self._channel], dialer=self._dialer, frames=self.frames
        )
        try:
            self._client.open()
        except proxy.ProxyError as error:
            raise StepError(
                str(error), "ask who runs the proxy, or name the host in NO_PROXY, or try --no-proxy"
            ) from None
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

    def _left_to_proxies(self) -> Iterator[str]:
        """Yield a phrase for each proxy, naming the targets to which the proxy connects instead of this machine."""
        for each in proxy.routes(*(url.geturl() for url in self._urls)):
            to = each["to"]
            assert isinstance(to, list)
            yield f"{' and '.join(to)} through the proxy {each['address']} ({each['variable']})"

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


def _place(url: SplitResult) -> tuple[str, int]:
    """Return the host and port that connections for a URL are opened to: the URL's own, or the proxy's."""
    through = proxy.route(url.geturl())
    return (_host(url), _port(url)) if through is None else (through.host, through.port)


def _blocking(context: ssl.SSLContext, raw: socket.socket, host: str) -> ssl.SSLSocket:
    raw.settimeout(TIMEOUT_S)
    return context.wrap_socket(raw, server_hostname=host)


def _fitting(error: Exception, advice: str) -> str:
    """Return the refusal's own advice for a refused handshake or a temporary refusal, else the step's ``advice``."""
    refusal: Refusal | None = getattr(error, "refusal", None)
    if refusal is None or (isinstance(error, ServiceRefusedError) and not refusal.again):
        return advice
    return refusal.advice


def _host(url: SplitResult) -> str:
    return url.hostname or ""


def _port(url: SplitResult) -> int:
    return url.port or DEFAULT_PORTS[url.scheme]


def _reason(error: Exception, host: str, port: int) -> str:
    """Return an error's text without the leading `host:port: `."""
    return getattr(error, "strerror", None) or str(error).removeprefix(f"{host}:{port}: ")


def _since_ms(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 3)


def _expiry(certificate: Any) -> str:
    until = certificate.get("notAfter")
    if until is None:
        return "certificate without a date"
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) - datetime.now(UTC)
    soon = " (soon!)" if left.days < _EXPIRY_WARNING_DAYS else ""
    return f"certificate good for {left.days} days{soon}"
