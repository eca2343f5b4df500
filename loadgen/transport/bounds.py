"""Limits on buffered data and on waiting, since a service may send anything for any length of time.

A connection that exceeds a limit ends with an error that names the limit. Memory is then bounded by the number of
connections. For whole messages see also `MOST_BYTES` of the generic protocol and `PACKET_MAX_BYTES` of MQTT.
"""

from typing import Final

HTTP_HEAD_BYTES: Final = 64 * 1024
"""Longest status line and headers of an HTTP answer, including the answer to a WebSocket handshake."""

HTTP_BODY_BYTES: Final = 1024 * 1024
"""Longest body of an HTTP answer. The answer to a publish of five events has less than 1 KB."""

HTTP_ANSWER_BYTES: Final = HTTP_HEAD_BYTES + 4 * HTTP_BODY_BYTES
"""Longest HTTP answer on the wire, including interim answers, chunk headers and trailers."""

UNSENT_BYTES: Final = 32 * 1024 * 1024
"""Longest send buffer of one connection. The buffer fills when the server does not read."""

REFUSAL_BODY_S: Final = 1.0
"""Longest wait for the body of an answer that refuses the WebSocket handshake."""

CLOSING_S: Final = 5.0
"""Longest wait for the server to close the TCP connection after its close frame (RFC 6455, 7.1.1: at once)."""
