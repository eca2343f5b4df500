"""A GraphQL API as a target: implements the interface of `loadgen.protocol.base`."""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from loadgen import native
from loadgen.protocol import unreadable
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, Credential, encode_header_subprotocol
from loadgen.protocol.appsync_graphql import messages
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.session import GraphqlSession
from loadgen.protocol.base import (
    ClientLogins,
    Handshake,
    HttpRequest,
    PublishAnswer,
    SessionHandler,
    TlsOptions,
)
from loadgen.protocol.generic.channels import normalise
from loadgen.protocol.generic.lanes import json_parts
from loadgen.protocol.generic.patterns import Quick, quick, resolve
from loadgen.protocol.refusals import Refusal

#: Hides the authorization, and all that follows it, if the service echoes one of our messages.
_AUTHORIZATION: Final = re.compile(rb"(authorization|header[-=]).*", re.IGNORECASE | re.DOTALL)
_NOTHING_SENT: Final[Mapping[str, str]] = {}
_JSON: Final = {"content-type": "application/json"}
_ACCEPTED: Final = PublishAnswer()
#: The path below `GraphqlUrl.path` that the signature of a connect covers (source: amplify-js).
_CONNECT: Final = "/connect"


class AppSyncGraphql:
    """Implements `Service` for a GraphQL API: its endpoints, its operations, and credentials by kind of operation."""

    __slots__ = (
        "_carrier",
        "_channels",
        "_connect",
        "_event_at",
        "_handshake",
        "_host",
        "_operations",
        "_path",
        "_publish",
        "_resource",
        "_sent",
        "_subscribe",
        "connect_url",
        "http_url",
        "quick",
        "template",
    )

    tls = TlsOptions()
    answers_opening = answers_subscribes = answers_publishes = True

    def __init__(self, endpoints: GraphqlUrl, credential: Credential) -> None:
        self.connect_url = endpoints.ws_url
        self.http_url = endpoints.http_url
        self._host = endpoints.http_host
        self._path = endpoints.path
        self._carrier = endpoints.carrier
        self._resource = "/" + endpoints.ws_url.split("/", 3)[3]
        self._operations = endpoints.operations
        self._event_at = ("data", *endpoints.operations.event_at)
        self._connect = self._subscribe = self._publish = self._signing(credential)
        #: Credentials by channel, for subscriptions that do not use the client's general ones.
        self._channels: Mapping[str, Credential] | None = None
        #: The authorization sent last: it must be hidden if the service echoes it.
        self._sent: Mapping[str, str] = _NOTHING_SENT
        #: The last handshake and its headers: most credentials have the same for every connection.
        self._handshake: tuple[Mapping[str, str], Handshake] | None = None
        when, at = {"/type": "data"}, {"id": "/id", "event": "/".join(("", "payload", *self._event_at))}
        found, parts = quick(when, at), json_parts(when, at)
        # `quick` and `json_parts` support these pointers: a GraphQL name is never a number and has no '/' or '~'.
        assert found is not None
        assert parts is not None
        self.quick: Quick = found
        self.template: native.Template | None = native.Template("json", parts) if native.available else None

    def for_client(self, logins: ClientLogins) -> "AppSyncGraphql":
        """Return a copy of the service with one client's own credentials; everything else is shared with this one."""
        made = copy(self)
        made._use(logins)
        return made

    def carry_stamps(self, name: str) -> None:
        """Never called: a mutation has no header or property that reaches a subscriber."""
        raise NotImplementedError

    def _use(self, logins: ClientLogins) -> None:
        self._connect = self._signing(logins.connect or self._connect)
        self._subscribe = self._signing(logins.subscribe or self._subscribe)
        self._publish = self._signing(logins.publish or self._publish)
        if logins.channels is not None:
            self._channels = {
                normalise(channel): self._signing(each) for channel, each in logins.channels.items()
            }
        self._sent = _NOTHING_SENT
        self._handshake = None

    def _signing(self, credential: Credential) -> Credential:
        """Return a credential that signs this API's paths; keys and tokens sign nothing."""
        if isinstance(credential, ApiKey | BearerToken):
            return credential
        # Imported late, as it loads botocore, which other credentials do not need.
        from loadgen.protocol.appsync.sigv4 import IamSignature

        if isinstance(credential, IamSignature):
            return replace(credential, path=self._path, connect_path=self._path + _CONNECT)
        return credential

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake, with the authorization as a second subprotocol or in the query."""
        headers = self._sent = self._connect.connect_headers(self._host)
        if self._handshake is None or self._handshake[0] != headers:
            if self._carrier == "subprotocol":
                made = Handshake((messages.SUBPROTOCOL, encode_header_subprotocol(headers)))
            else:
                header, payload = (
                    quote(each, safe="") for each in (messages.header_query(headers), messages.EMPTY_PAYLOAD)
                )
                made = Handshake(
                    (messages.SUBPROTOCOL,), resource=f"{self._resource}?header={header}&payload={payload}"
                )
            self._handshake = dict(headers), made
        return self._handshake[1]

    def session(self, handler: SessionHandler, name: str = "") -> GraphqlSession:
        """Return a new session; the name is not used."""
        return GraphqlSession(self, handler)

    def start(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes to a channel, with its authorization."""
        normal = normalise(channel)
        credential = (
            self._subscribe if self._channels is None else self._channels.get(normal, self._subscribe)
        )
        data = self._operations.start_data(normal[1:])
        authorization = self._sent = credential.frame_authorization(self._host, data)
        return messages.start(subscription_id, data, authorization)

    def event_in(self, payload: Any) -> str | None:
        """Return the text of the event in the payload of a `data` message, or None if it has none."""
        found = resolve(payload, self._event_at)
        return found if isinstance(found, str) else None

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the mutation that publishes the only event in ``events``."""
        (event,) = events
        body = self._operations.mutation_body(normalise(channel)[1:], event)
        self._sent = self._publish.headers(self._host, body)
        return HttpRequest(body, {**_JSON, **self._sent})

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Parse the answer to a mutation: `errors` refuse it, also with status 200 (GraphQL's convention).

        A result of null without errors counts as refused, since there is nothing to deliver (assumption).
        """
        try:
            answer = messages.decode_body(body)
        except messages.UNREADABLE:
            utf8 = unreadable.is_utf8(body)
            return PublishAnswer(
                error=f"HTTP {status} with a body that is not a GraphQL answer",
                refusal=Refusal.of(status),
                unreadable=unreadable.ANSWER_UNREADABLE if utf8 else unreadable.ANSWER_NOT_UTF8,
            )
        errors = messages.errors_of(answer)
        if status != 200 or errors:
            refusal = messages.refusal_of(errors, None if status == 200 else status)
            return PublishAnswer(error=messages.describe(errors) or f"HTTP {status}", refusal=refusal)
        data = answer.get("data")
        if not isinstance(data, dict) or data.get(self._operations.result) is None:
            return PublishAnswer(
                error=f"the mutation's result {self._operations.result!a} is null", refusal=Refusal.of(None)
            )
        return _ACCEPTED

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without any `authorization`."""
        secrets = [(value, unreadable.HIDDEN) for name, value in self._sent.items() if name != "host"]
        return unreadable.shown(_AUTHORIZATION.sub(rb"\g<1>(secret)", bytes(message)), secrets)

    def channel_for(self, pattern: str) -> str:
        """Return the pattern, which is a channel: there are no wildcards."""
        return pattern
