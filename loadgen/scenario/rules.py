"""What the target's protocol allows, as far as a scenario must know it."""

from collections.abc import Callable
from dataclasses import dataclass

from loadgen.protocol.appsync import channels, limits
from loadgen.protocol.appsync.endpoints import Endpoints


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """One protocol's rules; a second protocol brings its own object.

    The three validators raise ``ValueError`` with one sentence. The figures are the service's defaults, above
    which a scenario is warned about; they do not make it invalid.
    """

    validate_url: Callable[[str], object]
    normalise: Callable[[str], str]
    """Returns a channel, or a template of one, in its one canonical form; checks nothing."""
    validate_publish: Callable[[str], object]
    """Takes what may be published to."""
    validate_subscribe: Callable[[str], object]
    """Takes what may be subscribed to."""
    matches: Callable[[str, str], bool]
    """Whether a subscription to the first receives what is published to the second."""
    publishes_per_connection_per_s: float
    connects_per_s: float
    events_per_s: float
    connection_lifetime_s: float


APPSYNC = ProtocolRules(
    validate_url=Endpoints.from_url,
    normalise=channels.normalise,
    validate_publish=channels.validate_publish,
    validate_subscribe=channels.validate_subscribe,
    matches=channels.matches,
    publishes_per_connection_per_s=limits.PUBLISHES_PER_CONNECTION_PER_SECOND,
    connects_per_s=limits.NEW_CONNECTIONS_PER_SECOND,
    events_per_s=limits.INBOUND_EVENTS_PER_SECOND,
    connection_lifetime_s=limits.CONNECTION_LIFETIME_S,
)
