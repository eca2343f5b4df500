"""How much of what a service sends is kept: a service may send anything, for as long as it likes.

Beyond a bound the connection ends, and the sentence says which bound. Memory is then bounded by the number of
connections. For whole messages see also `MOST_BYTES` of the generic protocol and `PACKET_MAX_BYTES` of MQTT.
"""

from typing import Final

HTTP_HEAD_BYTES: Final = 64 * 1024
"""Status line and headers of an HTTP answer; so much does a WebSocket handshake's answer have, too."""

HTTP_BODY_BYTES: Final = 1024 * 1024
"""Body of an HTTP answer. That of a publish of five events is below 1 KB."""

HTTP_ANSWER_BYTES: Final = HTTP_HEAD_BYTES + 4 * HTTP_BODY_BYTES
"""A whole HTTP answer as it is sent, with interim answers, the chunks' headers and trailers."""

UNSENT_BYTES: Final = 32 * 1024 * 1024
"""What waits on one connection for a peer that does not read."""

REFUSAL_BODY_S: Final = 1.0
"""How long the body of an answer is waited for that refuses the WebSocket handshake."""

CLOSING_S: Final = 5.0
"""How long after its close frame a server may keep the connection open (RFC 6455, 7.1.1: it closes at once)."""
