"""Find the protocol of a target by its URL.

To add a protocol, write a package whose module `target` has a function `protocol_of(url)` that returns a
`TargetProtocol`, and list its URL schemes in `_BY_SCHEME`, or its hosts in `_BY_HOST`. A service that is described by a
protocol file needs no such package: the scheme of its URL begins with the name of that file, as in `nats+ws://…`
(`loadgen.protocol_file`).
"""

import re
from importlib import import_module
from types import ModuleType
from typing import Final
from urllib.parse import urlsplit

from loadgen.config.problems import ScenarioError
from loadgen.protocol.appsync.target import PROTOCOL
from loadgen.protocol.appsync_graphql import endpoints as graphql
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.urls import EndpointError

#: The protocol of a URL if neither its scheme, its host nor its path selects another one.
APPSYNC_EVENTS: Final = PROTOCOL
#: The packages of protocols that have URL schemes of their own; a package is imported when needed.
_BY_SCHEME: Final = {
    **dict.fromkeys(("mqtt", "mqtts", "mqtt+ws", "mqtt+wss"), "loadgen.protocol.mqtt"),
    **dict.fromkeys(("apigw+ws", "apigw+wss"), "loadgen.protocol.api_gateway"),
}
#: Protocols whose URLs have only a common scheme such as `https`: a pattern for the host, and the protocol's package.
_BY_HOST: Final = (
    (
        re.compile(r"[a-z0-9]+\.execute-api\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"),
        "loadgen.protocol.api_gateway",
    ),
)
_ORDINARY: Final = frozenset({"ws", "wss", "http", "https"})


def protocol_of(url: str | None, protocol_file: str | None = None) -> TargetProtocol:
    """Return the protocol of a target by its URL's scheme, host or path; the default is AppSync Events.

    A URL with the path `/graphql` selects the GraphQL protocol. ``protocol_file`` is the text of the file that the URL
    names: a protocol file, or the operations of a GraphQL API. If it is None, this function reads the file.

    Raises:
        ScenarioError: the URL names a protocol file (`nats+ws://…`) that does not exist or cannot be used.
    """
    if url is not None and graphql.recognises(url):
        api: TargetProtocol = _graphql().protocol_of(url, protocol_file)
        return api
    scheme, separator, _ = (url or "").strip().partition("://")
    package = _package(scheme.lower(), url or "") if separator else None
    if package is not None:
        found: TargetProtocol = import_module(f"{package}.target").protocol_of(url)
        return found
    if url is not None and (files := _protocol_files(url)) is not None:
        described: TargetProtocol = files.protocol_at(url, protocol_file)
        return described
    return APPSYNC_EVENTS


def _package(scheme: str, url: str) -> str | None:
    """Return the package of a URL's protocol, or None if neither its scheme nor its host selects one."""
    if scheme not in _ORDINARY:
        return _BY_SCHEME.get(scheme)
    try:
        host = urlsplit(url.strip()).hostname or ""
    except ValueError:
        return None  # an invalid URL is reported later, by `endpoints`
    return next((package for pattern, package in _BY_HOST if pattern.fullmatch(host)), None)


def protocol_file_of(url: str) -> str | None:
    """Return the text of the file that a URL names, or None if it names none.

    Raises:
        ScenarioError: the file does not exist or cannot be used.
    """
    if graphql.recognises(url):
        try:
            return graphql.document_of(url)
        except EndpointError as error:
            raise ScenarioError([f"--target: {error}"]) from None
    files = _protocol_files(url)
    return None if files is None else str(files.text_at(url))


def _graphql() -> ModuleType:
    """Return the module with the protocol of GraphQL APIs."""
    return import_module("loadgen.protocol.appsync_graphql.target")


def _protocol_files(url: str) -> ModuleType | None:
    """Return the module that reads protocol files, or None if the target names no file."""
    scheme = url.strip().partition("://")[0]
    if "+" not in scheme or scheme.lower() in _BY_SCHEME:
        return None
    # Import the module for protocol files only here: it loads pydantic and the YAML reader, which other targets do not
    # need.
    from loadgen import protocol_file

    return protocol_file if protocol_file.split(url) is not None else None
