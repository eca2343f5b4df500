"""Limits of MQTT 5 and of AWS IoT Core, and the client's keep-alive intervals."""

from typing import Final

KEEP_ALIVE_S: Final = 60
"""The keep alive in our CONNECT, in seconds (MQTT 5, 3.1.2.10); the broker's CONNACK may set another."""

PING_AFTER: Final = 0.75
"""The fraction of the keep alive after which we ping; the broker disconnects a client that is silent for 1.5 times the
keep alive (MQTT 5, 3.1.2.10)."""

SILENT_AFTER: Final = 1.5
"""The multiple of the keep alive after which a silent broker counts as gone: the same multiple after which a broker
gives up a silent client. MQTT leaves it to the client how long it waits for a PINGRESP (MQTT 5, 3.1.2.10)."""

RECEIVE_MAX: Final = 65_535
"""The number of unacknowledged QoS 1 messages that we accept: the maximum, so that only the broker's limit applies."""

PACKET_MAX_BYTES: Final = 4 * 1024 * 1024
"""The largest packet that we accept, in bytes; sent in the CONNECT."""

# AWS IoT Core. "AWS IoT Limits", AWS IoT Developer Guide (limits-iot.html), and "AWS IoT Core endpoints and quotas",
# AWS General Reference (iot-core.html, "message broker and protocol limits"), as quoted in search results in November
# 2026; not checked against an account.

AWS_PUBLISHES_PER_CONNECTION_PER_SECOND: Final = 100
"""Publish requests per second on one connection, inbound and outbound."""

AWS_CONNECTS_PER_SECOND: Final = 500
"""Connect requests per second and account; AWS raises the limit on request."""

AWS_QOS_MAX: Final = 1
"""Highest QoS: AWS IoT Core has QoS 0 and 1 ("MQTT", AWS IoT Developer Guide, mqtt.html)."""

AWS_SUBSCRIPTIONS_PER_CONNECTION: Final = 50
"""Subscriptions on one connection; AWS raises the limit on request."""
