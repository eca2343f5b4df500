"""Find and read the protocol file that a target names, and create its protocol."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from loadgen.config import document
from loadgen.config.messages import problems_in
from loadgen.config.problems import ScenarioError
from loadgen.config.text import nearest, shown
from loadgen.protocol.base import ClientLogins, TargetProtocol
from loadgen.protocol.generic import channels
from loadgen.protocol.generic.description import Description
from loadgen.protocol.generic.login import modes_of
from loadgen.protocol.generic.service import GenericService, TargetUrl
from loadgen.protocol.hosts import is_loopback
from loadgen.protocol.rules import ProtocolRules
from loadgen.protocol_file.describe import description_of, problems_of
from loadgen.protocol_file.model import ProtocolFile

_KNOWN: Final = Path(__file__).resolve().parent / "known"
_SUFFIXES: Final = (".yaml", ".yml")
_MAX_FILE_BYTES: Final = 1_000_000
_SCHEMES: Final = frozenset({"ws", "wss", "http", "https"})


@dataclass(frozen=True, slots=True)
class GenericEndpoints:
    """The addresses of a target that names a protocol file; implements `Endpoints`."""

    url: str
    target: TargetUrl
    description: Description

    @property
    def host(self) -> str:
        """The host, with the port if it is not the scheme's default."""
        return self.target.rest.partition("/")[0]

    @property
    def hostnames(self) -> tuple[str, ...]:
        """Only the host of the target's URL: a protocol file may name no other host (see `TargetUrl.demand`)."""
        return (self.target.hostname,)

    @property
    def loopback(self) -> bool:
        """True if the host's name is a loopback name or address."""
        return all(map(is_loopback, self.hostnames))

    def describe(self) -> Mapping[str, str | None]:
        """Return the URLs for the manifest, without secrets: `{env:NAME}` is not filled in."""
        http = self.description.publish_http
        return {
            "url": self.url,
            "http_url": None if http is None else http.url.replace("{target}", self.target.http),
            "ws_url": self.description.url.replace(
                "{target}", self.target.http if self.description.transport == "sse" else self.target.websocket
            ),
        }


def split(url: str) -> tuple[str, str] | None:
    """Split a URL into the name of its protocol file and the rest, or return None if it names no file.

    `nats+ws://host` is split into `nats` and `ws://host`.
    """
    scheme, separator, rest = url.strip().partition("://")
    name, plus, scheme = scheme.rpartition("+")
    if not separator or not plus or scheme.lower() not in _SCHEMES:
        return None
    return name, f"{scheme.lower()}://{rest}"


def protocol_at(url: str, text: str | None = None) -> TargetProtocol:
    """Return the protocol of a target that names a protocol file.

    ``text`` is the file's text, or None to read the file. A worker gets the text from the master: its own file may
    differ or be missing.

    Raises:
        ScenarioError: the file does not exist or is invalid; one line for each problem, with its place.
    """
    name = _name_of(url)
    if text is not None:
        return _protocol(name, text, name)
    text, place = _read(name)
    return _protocol(name, text, place)


def text_at(url: str) -> str:
    """Return the text of the protocol file that a target names.

    Raises:
        ScenarioError: the file does not exist or cannot be read.
    """
    return _read(_name_of(url))[0]


def _name_of(url: str) -> str:
    parts = split(url)
    assert parts is not None
    return parts[0]


def _read(name: str) -> tuple[str, str]:
    """Return the text of a protocol file, and its name for error messages."""
    path = _find(name)
    place = f"{name}.yaml" if path.parent == _KNOWN else name
    return _text(path, place), place


def _find(name: str) -> Path:
    if name.endswith(_SUFFIXES):
        return Path(name)
    known = {path.stem: path for path in sorted(_KNOWN.glob("*.yaml"))}
    if name in known:
        return known[name]
    hint = nearest(name, known)
    raise ScenarioError(
        [
            f"the target names the protocol {shown(name)}, which does not come with the program{hint}"
            " (a file of your own is named with its ending, as 'mine.yaml+ws://host')"
        ]
    )


def _text(path: Path, place: str) -> str:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ScenarioError([f"{place}: the file is larger than 1 MB, too large for a protocol file"])
        return document.read_text(path, "utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ScenarioError([f"the protocol file {shown(place)} cannot be read: {why}"]) from None


@lru_cache(maxsize=64)
def _protocol(source: str, text: str, place: str) -> TargetProtocol:
    """Return the protocol that a text describes; raises ScenarioError."""
    data, places = document.parse(text, place)
    if not isinstance(data, dict):
        raise ScenarioError([f"{place}:1: a protocol file must be a mapping that begins with 'version: 1'"])
    try:
        file = ProtocolFile.model_validate(data)
    except ValidationError as error:
        raise ScenarioError(places.sentences(problems_in(error, data, ProtocolFile))) from None
    problems = list(problems_of(file))
    if problems:
        raise ScenarioError(places.sentences(problems))
    name = Path(source).stem
    title = file.title or name
    description = description_of(file, title)
    return TargetProtocol(
        name=f"generic:{name}",
        title=title,
        rules=_rules(description),
        logins=modes_of(description.login),
        anonymous=not description.login_needed,
        endpoints=partial(_endpoints, description),
        service=_service,
        setup=lambda _endpoints: _setup(source, text, description),
        variables=description.environment,
    )


def _rules(description: Description) -> ProtocolRules:
    form = description.channels
    return ProtocolRules(
        normalise=channels.normalise,
        validate_publish=lambda channel: channels.validate_publish(channel, form.separator),
        validate_subscribe=lambda channel: channels.validate_subscribe(
            channel, form.separator, form.wildcard, description.name
        ),
        matches=channels.matches,
        publishes_per_connection_per_s=None,
        connects_per_s=None,
        events_per_s=None,
        connection_lifetime_s=None,
        publishes_over_http=description.publish_http is not None,
        publishes_over_connections=description.publish is not None,
        overlapping_subscriptions=description.deliver.identity != "channel",
        one_subscription=description.one_subscription,
        subscriptions_change=description.unsubscribe is not None,
        batches=description.batches,
        stamp_beside=None if description.stamped is None else "header",
    )


def _endpoints(description: Description, url: str) -> GenericEndpoints:
    parts = split(url)
    assert parts is not None
    target = TargetUrl.parse(parts[1])
    http = description.publish_http
    for key, written in (("connect.url", description.url), ("publish.http.url", http.url if http else "")):
        target.demand(key, written)
    return GenericEndpoints(url, target, description)


def _service(endpoints: GenericEndpoints, given: Any) -> GenericService:
    """Return the service.

    ``given`` is either a mapping from the file's environment variables to their values, or a client's credential, or
    None.
    """
    if isinstance(given, Mapping):
        return GenericService(endpoints.description, endpoints.target, given)
    service = GenericService(endpoints.description, endpoints.target, {})
    return service if given is None else service.for_client(ClientLogins(connect=given))


def _setup(source: str, text: str, description: Description) -> Mapping[str, str]:
    digest = hashlib.sha256(text.encode()).hexdigest()
    acknowledged = description.publish is None or description.publish.accepted is not None
    if description.publish_http is None:
        publish = "over WebSocket, 'via: http' included"
    elif description.publish is None:
        publish = "over HTTP, 'via: websocket' included"
    else:
        publish = "as the scenario says, over HTTP or WebSocket"
    carried = {"carried by": "server-sent events over HTTP/1.1"} if description.transport == "sse" else {}
    return carried | {
        "protocol_file": f"{source} (SHA-256 {digest[:16]}…)",
        "publish": publish + ("" if acknowledged else "; over WebSocket the service acknowledges none"),
        "wildcards": "none"
        if description.channels.wildcard is None
        else f"/* is {description.channels.wildcard}",
    }
