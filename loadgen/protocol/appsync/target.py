"""AppSync Events as a kind of target."""

from collections.abc import Mapping

from loadgen.protocol.appsync import channels, limits
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.rules import ProtocolRules

RULES = ProtocolRules(
    normalise=channels.normalise,
    validate_publish=channels.validate_publish,
    validate_subscribe=channels.validate_subscribe,
    matches=channels.matches,
    publishes_per_connection_per_s=limits.PUBLISHES_PER_CONNECTION_PER_SECOND,
    connects_per_s=limits.NEW_CONNECTIONS_PER_SECOND,
    events_per_s=limits.INBOUND_EVENTS_PER_SECOND,
    connection_lifetime_s=limits.CONNECTION_LIFETIME_S,
    event_bytes=limits.EVENT_MAX_BYTES,
    logins_by_operation=True,
)


def _setup(endpoints: Endpoints) -> Mapping[str, str]:
    return {
        "publish": "as the scenario says: over HTTP, or over the client's WebSocket",
        "carried by": "WebSocket over TLS" if endpoints.tls else "WebSocket",
    }


PROTOCOL = TargetProtocol(
    name="appsync-events",
    title="AWS AppSync Events",
    rules=RULES,
    logins=frozenset({"api-key", "iam", "cognito", "oidc", "lambda"}),
    anonymous=False,
    endpoints=Endpoints.from_url,
    service=AppSyncEvents,
    setup=_setup,
    bills=True,
    priced=True,
)
