"""Limits and intervals of AppSync Events; letters name the source in the fact sheet.

The fact sheet is docs/reference/appsync-events.md, section 5.

a: Events guide (doc). b, c, d: secondary sources that agree with each other (2nd).
"""

from typing import Final

EVENTS_PER_PUBLISH: Final = 5
"""Events in one publish request. a, b, d; L-B6E463BF."""

EVENT_MAX_BYTES: Final = 240 * 1024
"""UTF-8 bytes of one event. a, d. That a KB is 1,024 bytes is an assumption."""

PAYLOAD_MAX_BYTES: Final = EVENTS_PER_PUBLISH * EVENT_MAX_BYTES
"""Bytes of one publish request, "1.2 MB". b, c, d; L-16CCBB05. That it is 5 x 240 KiB is an assumption."""

SUBSCRIPTIONS_PER_CONNECTION: Final = 200
"""b, c, d; L-AA33EB36."""

PUBLISHES_PER_CONNECTION_PER_SECOND: Final = 25
"""Publish requests of one WebSocket connection. b, c, d; L-D33F7C2A. What happens above it is unknown."""

NEW_CONNECTIONS_PER_SECOND: Final = 2_000
"""Per API, adjustable. b, c, d; L-10498098."""

INBOUND_EVENTS_PER_SECOND: Final = 10_000
"""Per API, adjustable. b, c, d; L-D91E563A."""

OUTBOUND_MESSAGES_PER_SECOND: Final = 1_000_000
"""Per API, in messages of 5 KB, adjustable. b, c, d; L-F643C244."""

REQUEST_TOKENS_PER_SECOND: Final = 2_000
"""Per account, adjustable. b; L-27770490."""

CHANNEL_SEGMENTS_MAX: Final = 5
"""a, b, d."""

SEGMENT_MAX_CHARACTERS: Final = 50
"""a, b, d."""

OPERATION_ID_MAX_CHARACTERS: Final = 128
"""a."""

KEEPALIVE_INTERVAL_S: Final = 60
"""Seconds between two `ka` frames. a."""

CONNECTION_TIMEOUT_MS: Final = 300_000
"""Milliseconds without `ka` after which a client should close; sent in `connection_ack`. a."""

CONNECTION_LIFETIME_S: Final = 24 * 3600
"""Seconds after which the service ends a connection. a."""

METERED_MESSAGE_BYTES: Final = 5 * 1024
"""A message is metered (quotas, price) in units of 5 KB. That a KB is 1,024 bytes is an assumption."""
