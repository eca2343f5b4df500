"""The journal of lost deliveries that the stand-in of API Gateway and its backend write."""

from pathlib import Path

import msgspec

from loadgen.stand_ins.journal import Journal


class GatewayJournal(Journal):
    """A journal that the gateway and its backend, two processes, have open at once.

    A line of kind `lost` has the members `connection` and `channel` (as subscribed).
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file for appending; raises OSError."""
        super().__init__(path, append=True)

    def undelivered(self, why: str, connection: str, message: bytes) -> None:
        """Write a line for a delivery that will not reach its connection; ``message`` is as the backend wrote it."""
        if self.is_open:
            channel, event = _delivery(message)
            self.lost(why, event, connection=connection, channel=channel)


class _Delivery(msgspec.Struct):
    channel: str
    data: msgspec.Raw


def _delivery(message: bytes) -> tuple[str | None, str | bytes | None]:
    """Return the channel and the event of a delivery, each as None if the message lacks it."""
    try:
        found = msgspec.json.decode(message, type=_Delivery)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    event = bytes(found.data)
    try:
        return found.channel, msgspec.json.decode(event, type=str) if event.startswith(b'"') else event
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return found.channel, None
