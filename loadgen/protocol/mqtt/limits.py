"""Limits of MQTT 5 and of AWS IoT Core, and our own intervals."""

from typing import Final

KEEP_ALIVE_S: Final = 60
"""What we tell the broker (MQTT 5, 3.1.2.10); it may name another time in its CONNACK."""

PING_AFTER: Final = 0.75
"""Part of that time after which we ping: the broker gives up at one and a half times (MQTT 5, 3.1.2.10)."""

SILENT_AFTER: Final = 1.5
"""Multiple of that time after which a broker that is not heard is taken for gone, as the broker does with a client. How
long a client waits for a PINGRESP is left to it (MQTT 5, 3.1.2.10)."""

RECEIVE_MAX: Final = 65_535
"""How many unacknowledged QoS 1 messages we take; the largest value, so that the broker's own limit shows."""

PACKET_MAX_BYTES: Final = 4 * 1024 * 1024
"""The largest packet that we take, told to the broker."""

# AWS IoT Core. "AWS IoT Limits", AWS IoT Developer Guide (limits-iot.html), and "AWS IoT Core endpoints and quotas",
# AWS General Reference (iot-core.html, "message broker and protocol limits"), as they were quoted by search in November
# 2026; not checked against an account.

AWS_PUBLISHES_PER_CONNECTION_PER_SECOND: Final = 100
"""Publish requests of one connection, inbound and outbound."""

AWS_CONNECTS_PER_SECOND: Final = 500
"""Connect requests per second and account; adjustable."""

AWS_SUBSCRIPTIONS_PER_CONNECTION: Final = 50
"""Adjustable."""
