"""How the sessions of a service use a broker: version, quality of service, login, and the place of stamps."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from loadgen.protocol import unreadable
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.mqtt.settings import Settings
from loadgen.protocol.mqtt.wire import Wire

Bytes = bytes | bytearray | memoryview


class Use(NamedTuple):
    """The settings by which all sessions of a service use a broker."""

    settings: Settings
    wire: Wire
    login: UserPassword | None = None
    #: The user property with the stamps, or None if the stamps are in the events.
    stamp_name: str | None = None
    #: True if the packets travel in WebSocket frames.
    websocket: bool = False

    def shown(self, message: Bytes) -> str:
        """Return a broker's message for display, without the login's secrets: the broker may echo our CONNECT."""
        secrets = (self.login.password, self.login.username) if self.login else ()
        return unreadable.shown(message, [(secret, unreadable.HIDDEN) for secret in secrets])

    def example(self, message: Bytes) -> Callable[[], str]:
        """Return a function that returns :meth:`shown` of a copy of the message, as the message's buffer is reused."""
        return partial(self.shown, bytes(message[: unreadable.SEARCHED_BYTES]))
