"""WebSocket APIs as targets: those on loopback hosts have no quotas; all others have AWS's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from loadgen.protocol.api_gateway import limits
from loadgen.protocol.api_gateway.endpoints import WebSocketUrl
from loadgen.protocol.api_gateway.shape import TITLE, Shape
from loadgen.protocol.base import Service, TargetProtocol
from loadgen.protocol.rules import ProtocolRules
from loadgen.protocol.urls import EndpointError


def _service(target: WebSocketUrl, login: Any) -> Service:
    # Import the service only here, so that reading a scenario does not load the client code.
    from loadgen.protocol.api_gateway.service import ApiGatewayService

    return ApiGatewayService(target, login)


def _setup(target: WebSocketUrl) -> Mapping[str, str]:
    shape = target.shape
    return {
        "publish": shape.describe_publish(),
        "messages": shape.describe(),
        "wildcards": "/* is /*, as the backend says" if shape.wildcards else "none",
        "keepalive": shape.describe_keepalive(),
        "carried by": "WebSocket over TLS" if target.tls else "WebSocket",
    }


def _rules(shape: Shape, *, aws: bool) -> ProtocolRules:
    rules = shape.rules()
    if not aws:
        return rules
    return replace(
        rules,
        connects_per_s=limits.NEW_CONNECTIONS_PER_SECOND,
        events_per_s=limits.REQUESTS_PER_SECOND,
        connection_lifetime_s=limits.CONNECTION_LIFETIME_S,
        event_bytes=limits.MESSAGE_MAX_BYTES,
    )


def protocol_of(url: str) -> TargetProtocol:
    """Return the protocol of a WebSocket API at a URL; the messages depend on the URL's query."""
    try:
        target = WebSocketUrl.from_url(url)
        shape, remote = target.shape, not target.loopback
    except EndpointError:
        shape, remote = Shape(), False  # ignore the invalid URL here: `endpoints` raises the error later
    return TargetProtocol(
        name="api-gateway",
        title=TITLE,
        rules=_rules(shape, aws=remote),
        logins=frozenset({"api-key", "iam", "lambda", "oidc", "cognito"}),
        anonymous=True,
        endpoints=WebSocketUrl.from_url,
        service=_service,
        setup=_setup,
        bills=remote,
    )
