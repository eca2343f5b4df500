"""Which protocol a target speaks.

A further protocol is a package whose module `target` says by `protocol_of` what kind of target a URL is, and a line
here; or, without either, a protocol file that the target names before its scheme (`loadgen.protocol_file`).
"""

from importlib import import_module
from types import ModuleType
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
    """Return the protocol of a target by its URL's scheme; AppSync Events for all others, and where there is no URL.

    Raises:
        ScenarioError: the URL names a protocol file (`nats+ws://…`) that is not there or cannot be used.
    """
    scheme, separator, _ = (url or "").strip().partition("://")
    package = _BY_SCHEME.get(scheme.lower()) if separator else None
    if package is not None:
        found: TargetProtocol = import_module(f"{package}.target").protocol_of(url)
        return found
    if url is not None and (files := _protocol_files(url)) is not None:
        described: TargetProtocol = files.protocol_at(url)
        return described
    return APPSYNC_EVENTS


def protocol_file_of(url: str) -> str | None:
    """Return the text of the protocol file that a target names; None: it names none. Raises as `protocol_of`."""
    files = _protocol_files(url)
    return None if files is None else str(files.text_at(url))


def adopt_protocol_file(url: str, text: str) -> None:
    """Take this for the text of the protocol file that a target names. Raises as `protocol_of`."""
    files = _protocol_files(url)
    if files is not None:
        files.adopt(url, text)


def _protocol_files(url: str) -> ModuleType | None:
    """Return what reads protocol files, if the target names one."""
    scheme = url.strip().partition("://")[0]
    if "+" not in scheme or scheme.lower() in _BY_SCHEME:
        return None
    # Not above: it reads files as scenarios are read, and scenarios ask here for their target's rules.
    from loadgen import protocol_file

    return protocol_file if protocol_file.split(url) is not None else None
