"""GraphQL APIs of AWS AppSync as a kind of target."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from loadgen.protocol.appsync_graphql import limits
from loadgen.protocol.appsync_graphql.endpoints import GraphqlUrl
from loadgen.protocol.base import Service, TargetProtocol
from loadgen.protocol.generic import channels
from loadgen.protocol.rules import ProtocolRules

_TITLE = "AWS AppSync GraphQL"

RULES = ProtocolRules(
    normalise=channels.normalise,
    validate_publish=partial(channels.validate_publish, separator="/"),
    validate_subscribe=partial(channels.validate_subscribe, separator="/", wildcard=None, service=_TITLE),
    matches=channels.matches,
    publishes_per_connection_per_s=None,
    # No limit, since sources disagree: 200/s or 2,000/s.
    connects_per_s=None,
    events_per_s=limits.INBOUND_MESSAGES_PER_SECOND,
    # No limit, since AWS documents the maximum of 24 hours for AppSync Events only.
    connection_lifetime_s=None,
    subscriptions_per_connection=limits.SUBSCRIPTIONS_PER_CONNECTION,
    publishes_over_connections=False,
    batches=False,
    event_bytes=limits.EVENT_MAX_BYTES,
    logins_by_operation=True,
)


def _service(endpoints: GraphqlUrl, credential: Any) -> Service:
    # Import the service only here, so that reading a scenario does not load its message codec.
    from loadgen.protocol.appsync_graphql.service import AppSyncGraphql

    return AppSyncGraphql(endpoints, credential)


def _setup(endpoints: GraphqlUrl) -> Mapping[str, str]:
    of_file = f" (file {endpoints.file})" if endpoints.file is not None else ""
    return {
        "publish": "by a mutation over HTTP, one an event, 'via: websocket' included",
        "carried by": "WebSocket over TLS" if endpoints.tls else "WebSocket",
        "operations": endpoints.operations.describe() + of_file,
        "authorization of connections": f"in the {endpoints.carrier}",
    }


PROTOCOL = TargetProtocol(
    name="appsync-graphql",
    title=_TITLE,
    rules=RULES,
    logins=frozenset({"api-key", "iam", "cognito", "oidc", "lambda"}),
    anonymous=False,
    endpoints=GraphqlUrl.from_url,
    service=_service,
    setup=_setup,
    bills=True,
)


def protocol_of(url: str, text: str | None = None) -> TargetProtocol:
    """Return a GraphQL API's protocol.

    ``text`` is the content of the file that the URL's `operations` names, or None to read the file.
    """
    return PROTOCOL if text is None else replace(PROTOCOL, endpoints=partial(GraphqlUrl.from_url, text=text))
