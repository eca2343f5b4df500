"""Limits and intervals of AppSync GraphQL subscriptions.

The values are those of `docs/appsync-graphql.md`. Each docstring says how certain its value is.
"""

from typing import Final

EVENT_MAX_BYTES: Final = 240 * 1024
"""The largest payload that is delivered (secondary source); the service drops larger ones without an error (AppSync
#33, #175). Two assumptions: the limit applies to the whole `payload` of a `data` message, and a KB is 1,024 bytes."""

SUBSCRIPTIONS_PER_CONNECTION: Final = 200
"""Subscriptions of one connection (secondary source: a dump of the service quotas of 2025-06); adjustable, 100 in older
APIs."""

INBOUND_MESSAGES_PER_SECOND: Final = 10_000
"""Publishing mutations per second and API (AWS quota code L-A1B022A0, from a secondary source); adjustable."""

KEEPALIVE_INTERVAL_S: Final = 60
"""Seconds between two `ka` messages (source: a recorded session)."""

CONNECTION_TIMEOUT_MS: Final = 300_000
"""`connectionTimeoutMs` in `connection_ack`: milliseconds without a `ka` after which a client reconnects (source: a
recorded session)."""
