"""Limits and intervals of AppSync Events.

The docstrings name sources by their letters in the fact sheet, docs/reference/appsync-events.md, section 5. a: AWS's
Events guide. b, c, d: secondary sources that agree with each other. Codes such as L-B6E463BF are AWS quota codes.
"""

from typing import Final

EVENTS_PER_PUBLISH: Final = 5
"""Events in one publish request (sources a, b, d; quota L-B6E463BF)."""

EVENT_MAX_BYTES: Final = 240 * 1024
"""UTF-8 bytes of one event (sources a, d). Assumption: a KB is 1,024 bytes."""

PAYLOAD_MAX_BYTES: Final = EVENTS_PER_PUBLISH * EVENT_MAX_BYTES
"""Bytes of one publish request, "1.2 MB" (sources b, c, d; quota L-16CCBB05). Assumption: it is 5 x 240 KiB."""

SUBSCRIPTIONS_PER_CONNECTION: Final = 200
"""Subscriptions on one connection (sources b, c, d; quota L-AA33EB36)."""

PUBLISHES_PER_CONNECTION_PER_SECOND: Final = 25
"""Publish requests per second on one WebSocket connection (sources b, c, d; quota L-D33F7C2A). The service's behaviour
above it is unknown."""

NEW_CONNECTIONS_PER_SECOND: Final = 2_000
"""New connections per second and API; adjustable (sources b, c, d; quota L-10498098)."""

INBOUND_EVENTS_PER_SECOND: Final = 10_000
"""Published events per second and API; adjustable (sources b, c, d; quota L-D91E563A)."""

OUTBOUND_MESSAGES_PER_SECOND: Final = 1_000_000
"""Delivered messages of 5 KB per second and API; adjustable (sources b, c, d; quota L-F643C244)."""

REQUEST_TOKENS_PER_SECOND: Final = 2_000
"""Request tokens per second and account; adjustable (source b; quota L-27770490)."""

CHANNEL_SEGMENTS_MAX: Final = 5
"""Segments of a channel (sources a, b, d)."""

SEGMENT_MAX_CHARACTERS: Final = 50
"""Characters of a segment (sources a, b, d)."""

OPERATION_ID_MAX_CHARACTERS: Final = 128
"""Characters of the id of a subscribe, unsubscribe or publish (source a)."""

KEEPALIVE_INTERVAL_S: Final = 60
"""Seconds between two `ka` frames (source a)."""

CONNECTION_TIMEOUT_MS: Final = 300_000
"""Milliseconds without a `ka` after which a client should close the connection; sent in `connection_ack` (source a)."""

CONNECTION_LIFETIME_S: Final = 24 * 3600
"""Seconds after which the service ends a connection (source a)."""

METERED_MESSAGE_BYTES: Final = 5 * 1024
"""Bytes of the unit in which messages are metered for quotas and price: 5 KB. Assumption: a KB is 1,024 bytes."""
