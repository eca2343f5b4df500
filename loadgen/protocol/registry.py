"""Which protocol a target speaks.

A further protocol is a package whose module `target` says by `protocol_of` what kind of target a URL is, and a line
here.
"""

from importlib import import_module
from typing import Final

from loadgen.protocol.appsync.target import PROTOCOL
from loadgen.protocol.base import TargetProtocol

#: What speaks where nothing else is said.
APPSYNC_EVENTS: Final = PROTOCOL
#: The package of each further protocol by the schemes of its URLs; imported when it is needed.
_BY_SCHEME: Final = {
    **dict.fromkeys(("mqtt", "mqtts", "mqtt+ws", "mqtt+wss"), "loadgen.protocol.mqtt"),
}


def protocol_of(url: str | None) -> TargetProtocol:
    """Return the protocol of a target by its URL's scheme; AppSync Events for all others, and where there is no URL."""
    scheme, separator, _ = (url or "").strip().partition("://")
    package = _BY_SCHEME.get(scheme.lower()) if separator else None
    if package is None:
        return APPSYNC_EVENTS
    found: TargetProtocol = import_module(f"{package}.target").protocol_of(url)
    return found
