"""Limits of API Gateway WebSocket APIs.

Sources, unless another is named: the pages "Quotas for configuring and running a WebSocket in API Gateway" and, for
account quotas, "Amazon API Gateway quotas" of the API Gateway Developer Guide (stored copies, read in November 2026).
"""

from typing import Final

FRAME_MAX_BYTES: Final = 32 * 1024
"""Payload of one WebSocket frame, in both directions. A larger one closes the connection with code 1009.
Assumption: a KB is 1,024 bytes."""

MESSAGE_MAX_BYTES: Final = 128 * 1024
"""Maximum size of a message, in both directions. A larger message closes the connection with code 1009. `@connections`
takes 131,072 bytes (botocore's model of the service)."""

NEW_CONNECTIONS_PER_SECOND: Final = 500
"""New connections per second, account and region; adjustable."""

REQUESTS_PER_SECOND: Final = 10_000
"""Requests per second, account and region, counted over all kinds of APIs and including @connections; adjustable."""

REQUESTS_BURST: Final = 5_000
"""Size of the token bucket behind `REQUESTS_PER_SECOND`."""

IDLE_TIMEOUT_S: Final = 600.0
"""Seconds without a message after which the service closes the connection, with code 1001 (secondary source)."""

CONNECTION_LIFETIME_S: Final = 7_200.0
"""Seconds after which the service closes every connection, with code 1001 (secondary source)."""

INTEGRATION_TIMEOUT_S: Final = 29.0
"""Longest time that a backend may take to answer one message."""

# The following values are choices of the harness, not limits of the service.

KEEPALIVE_INTERVAL_S: Final = 300
"""Default interval of our keepalive, half of the idle timeout."""
