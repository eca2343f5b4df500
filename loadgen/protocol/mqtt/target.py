"""The targets of the protocol MQTT: any broker, and AWS IoT Core with its quotas."""

from collections.abc import Mapping
from dataclasses import replace

from loadgen.protocol.base import Service, TargetProtocol
from loadgen.protocol.mqtt import limits, topics
from loadgen.protocol.mqtt.auth import AwsKeys, ClientCertificate, UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.settings import VERSIONS
from loadgen.protocol.rules import ProtocolRules
from loadgen.protocol.urls import EndpointError

RULES = ProtocolRules(
    normalise=topics.normalise,
    validate_publish=topics.validate_publish,
    validate_subscribe=topics.validate_subscribe,
    matches=topics.matches,
    publishes_per_connection_per_s=None,
    connects_per_s=None,
    events_per_s=None,
    connection_lifetime_s=None,
    publishes_over_http=False,
    overlapping_subscriptions=False,
    stamp_beside="user_property",
    shared_subscriptions=True,
)
AWS_RULES = replace(
    RULES,
    publishes_per_connection_per_s=limits.AWS_PUBLISHES_PER_CONNECTION_PER_SECOND,
    connects_per_s=limits.AWS_CONNECTS_PER_SECOND,
    subscriptions_per_connection=limits.AWS_SUBSCRIPTIONS_PER_CONNECTION,
)
_CARRIED_BY = {"tcp": "TCP", "tls": "TLS", "ws": "WebSocket", "wss": "WebSocket over TLS"}


def _service(broker: BrokerUrl, login: UserPassword | ClientCertificate | AwsKeys | None) -> Service:
    # Imported late: reading a scenario must not load the codec.
    from loadgen.protocol.mqtt.service import MqttService

    return MqttService(broker, login)


def _setup(broker: BrokerUrl) -> Mapping[str, str]:
    settings = broker.settings
    told = {
        "publish": "over each client's own connection, a PUBLISH packet an event, 'via: http' included",
        "quality of service": f"QoS {settings.qos}"
        + ("" if settings.qos else ": the broker acknowledges no publish"),
        "carried by": _CARRIED_BY[broker.connect_url.partition(":")[0]],
    }
    if not settings.clean:
        told["sessions"] = "resumed after a reconnect; " + (
            f"the broker keeps them for {settings.expiry_s} s"
            if settings.properties
            else "the broker decides how long it keeps them"
        )
    if settings.retain:
        told["retained"] = "every published event; those that come on subscribing are counted apart"
    return told


PROTOCOL = TargetProtocol(
    name="mqtt",
    title="MQTT 5",
    rules=RULES,
    logins=frozenset({"password", "certificate", "iam"}),
    anonymous=True,
    endpoints=BrokerUrl.from_url,
    service=_service,
    setup=_setup,
)
AWS_IOT = replace(PROTOCOL, name="aws-iot", title="AWS IoT Core (MQTT 5)", rules=AWS_RULES, bills=True)


def protocol_of(url: str) -> TargetProtocol:
    """Return the kind of broker at a URL."""
    try:
        broker = BrokerUrl.from_url(url)
    except EndpointError:
        return PROTOCOL  # `endpoints`, called later, raises the error of an invalid URL
    found = AWS_IOT if broker.aws else PROTOCOL
    if broker.settings.properties:
        return found
    # Without properties, as in MQTT 3.1.1, a message has no place for a stamp outside its payload.
    return replace(
        found,
        title=found.title.replace(VERSIONS[0], broker.settings.version),
        rules=replace(found.rules, stamp_beside=None),
    )
