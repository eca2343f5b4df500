"""Reason codes of a broker, as words and as refusals."""

from typing import Any, Final

from loadgen.protocol import unreadable
from loadgen.protocol.refusals import Refusal

REFUSED: Final = 128
"""Reason codes from here on mean failure (MQTT 5, 2.4)."""

#: Server unavailable, server busy, quota exceeded, connection rate exceeded (MQTT 5, 2.4).
_NOT_NOW: Final = frozenset({0x88, 0x89, 0x97, 0x9F})
#: Bad user name or password, not authorized, banned, bad authentication method (MQTT 5, 2.4).
_DENIED: Final = frozenset({0x86, 0x87, 0x8A, 0x8C})


def refusal_of(code: int) -> Refusal | None:
    """Return the refusal for a reason code, or None if the code belongs to no known kind of refusal."""
    if code in _NOT_NOW:
        return Refusal.throttled()
    return Refusal.denied() if code in _DENIED else None


def reason_of(packet: Any) -> str:
    """Return a packet's reason code as words, with the broker's reason string."""
    return words(packet.reason_code, packet.reason_str)


def words(code: Any, said: str | None) -> str:
    """Return a reason code as words, with the broker's reason string."""
    # The codec's enumerations have no `name`; their `repr` is `<ConnAckReasonCode.BANNED: 138>`.
    name = repr(code).partition(".")[2].partition(":")[0].replace("_", " ").lower()
    return f"{name} (MQTT reason code {int(code)})" + (f": {unreadable.cut(said)}" if said else "")
