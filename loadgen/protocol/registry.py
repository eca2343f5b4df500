"""Which protocol a target speaks.

A further protocol is a package with a `TargetProtocol` named `PROTOCOL`, and a line here.
"""

from importlib import import_module
from typing import Final

from loadgen.protocol.appsync.target import PROTOCOL
from loadgen.protocol.base import TargetProtocol

#: What speaks where nothing else is said.
APPSYNC_EVENTS: Final = PROTOCOL
#: The module of each protocol by the schemes of its URLs; imported when it is needed.
_BY_SCHEME: Final[dict[str, str]] = {}


def protocol_of(url: str | None) -> TargetProtocol:
    """Return the protocol of a target by its URL's scheme; AppSync Events for all others, and where there is no URL."""
    scheme, separator, _ = (url or "").strip().partition("://")
    module = _BY_SCHEME.get(scheme.lower()) if separator else None
    if module is None:
        return APPSYNC_EVENTS
    protocol: TargetProtocol = import_module(module).PROTOCOL
    return protocol
