"""A GraphQL API as a target: implements the interface of `loadgen.protocol.base`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from loadgen import native
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, Credential, encode_header_subprotocol
from loadgen.protocol.appsync.realtime import RealtimeService, unreadable_answer
from loadgen.protocol.appsync_graphql import messages
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.appsync_graphql.session import GraphqlSession
from loadgen.protocol.base import (
    Handshake,
    HttpRequest,
    PublishAnswer,
    SessionHandler,
)
from loadgen.protocol.generic.channels import normalise
from loadgen.protocol.generic.lanes import json_parts
from loadgen.protocol.generic.patterns import Quick, quick, resolve
from loadgen.protocol.refusals import Refusal

_JSON: Final = {"content-type": "application/json"}
_ACCEPTED: Final = PublishAnswer()
#: The path below `GraphqlUrl.path` that the signature of a connect covers (source: amplify-js).
_CONNECT: Final = "/connect"


class AppSyncGraphql(RealtimeService):
    """Implements `Service` for a GraphQL API: its endpoints, its operations, and credentials by kind of operation."""

    __slots__ = (
        "_carrier",
        "_event_at",
        "_operations",
        "_path",
        "_resource",
        "quick",
        "template",
    )

    def __init__(self, endpoints: GraphqlUrl, credential: Credential) -> None:
        self._path = endpoints.path
        super().__init__(endpoints, credential)
        self._carrier = endpoints.carrier
        self._resource = "/" + endpoints.ws_url.split("/", 3)[3]
        self._operations = endpoints.operations
        self._event_at = ("data", *endpoints.operations.event_at)
        when, at = {"/type": "data"}, {"id": "/id", "event": "/".join(("", "payload", *self._event_at))}
        found, parts = quick(when, at), json_parts(when, at)
        # The results cannot be None: `quick` and `json_parts` support all JSON pointers made of GraphQL names, which
        # are never numbers and contain no '/' or '~'.
        assert found is not None
        assert parts is not None
        self.quick: Quick = found
        self.template: native.Template | None = native.Template("json", parts) if native.available else None

    def _signing(self, credential: Credential) -> Credential:
        """Return the credential; an IAM signature is changed to sign this API's paths."""
        if isinstance(credential, ApiKey | BearerToken):
            return credential
        # Imported late, as it loads botocore, which other credentials do not need.
        from loadgen.protocol.appsync.sigv4 import IamSignature

        if isinstance(credential, IamSignature):
            return replace(credential, path=self._path, connect_path=self._path + _CONNECT)
        return credential

    def _normal(self, channel: str) -> str:
        return normalise(channel)

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake, with the authorization as a second subprotocol or in the URL's query."""
        return self._handshake_by(self._handshake_with)

    def _handshake_with(self, headers: dict[str, str]) -> Handshake:
        if self._carrier == "subprotocol":
            return Handshake((messages.SUBPROTOCOL, encode_header_subprotocol(headers)))
        header, payload = (
            quote(each, safe="") for each in (messages.header_query(headers), messages.EMPTY_PAYLOAD)
        )
        return Handshake(
            (messages.SUBPROTOCOL,), resource=f"{self._resource}?header={header}&payload={payload}"
        )

    def session(self, handler: SessionHandler, name: str = "") -> GraphqlSession:
        """Return a new session; ``name``, which in other protocols identifies the connection, is not used."""
        return GraphqlSession(self, handler)

    def start(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes to a channel, with its authorization."""
        normal = normalise(channel)
        data = self._operations.start_data(normal[1:])
        authorization = self._sent = self._subscribes_by(normal).frame_authorization(self._host, data)
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
            return unreadable_answer(status, body, "a GraphQL answer")
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

    def channel_for(self, pattern: str) -> str:
        """Return the pattern unchanged: without wildcards every pattern is a channel."""
        return pattern
