"""Derive the HTTP and realtime URLs, the operations and the kind of login of a GraphQL API from the user's one URL."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from loadgen.protocol.appsync.endpoints import Endpoints, origins
from loadgen.protocol.appsync_graphql.operations import (
    DEFAULTS,
    Operations,
    OperationsError,
    by_document,
    by_names,
)
from loadgen.protocol.urls import EndpointError, shown, split

PATH: Final = "/graphql"
REALTIME: Final = "/realtime"
#: Schemes whose URLs always name a GraphQL API, whatever their path; the value is True if the scheme is encrypted.
SCHEMES: Final = {
    "graphql+http": False,
    "graphql+https": True,
    "graphql+ws": False,
    "graphql+wss": True,
}
#: Schemes that AppSync Events has too: their URLs name a GraphQL API only if the path is `PATH`.
_PLAIN_SCHEMES: Final = {"http": False, "https": True, "ws": False, "wss": True}
_MOST_FILE_BYTES: Final = 100_000

#: The place of a connection's authorization: a subprotocol (source: amplify-js) or the query (AWS's guide).
Carrier = Literal["subprotocol", "query"]
_CARRIERS: Final[tuple[Carrier, ...]] = ("subprotocol", "query")


@dataclass(frozen=True, slots=True)
class GraphqlUrl(Endpoints):
    """The URLs of a GraphQL API: the HTTP URL for mutations, and the WebSocket URL for subscriptions."""

    path: str
    """The path of the HTTP URL, which a signature covers."""
    carrier: Carrier
    operations: Operations
    file: str | None = None
    """The name of the file with the operations, or None."""

    @classmethod
    def from_url(cls, url: str, text: str | None = None) -> "GraphqlUrl":
        """Return the endpoints of a GraphQL API by its HTTP or its realtime URL.

        On the AWS domain the two hosts differ and both paths are `/graphql`. A custom domain or local server has one
        host, and its realtime path is its HTTP path followed by `/realtime` (source: amplify-js).

        ``text`` is the document that the query's `operations` names, or None to read that file.

        Raises:
            EndpointError: the URL has an unknown scheme, path or query, or holds credentials or a fragment; it would
                reach AWS unencrypted; or the operations cannot be used.
        """
        parts, port = _split(url)
        tls = {**SCHEMES, **_PLAIN_SCHEMES}[parts.scheme]
        http_host, ws_host = origins(url, parts.hostname or "", port, tls=tls)
        path = parts.path.removesuffix("/").removesuffix(REALTIME) or PATH
        realtime_path = path + REALTIME if http_host == ws_host else path
        secure = "s" if tls else ""
        carrier, file, operations = _query(parts, url, text)
        return cls(
            http_url=f"http{secure}://{http_host}{path}",
            ws_url=f"ws{secure}://{ws_host}{realtime_path}",
            http_host=http_host,
            path=path,
            carrier=carrier,
            operations=operations,
            file=file,
        )


def recognises(url: str) -> bool:
    """Return True if the scheme of a URL, or else its path, shows that it names a GraphQL API."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return False
    if parts.scheme in SCHEMES:
        return True
    return parts.scheme in _PLAIN_SCHEMES and parts.path.removesuffix("/") in (PATH, PATH + REALTIME)


def document_of(url: str) -> str | None:
    """Return the text of the file that the URL's `operations` names, or None if it names none.

    Raises:
        EndpointError: the file cannot be read.
    """
    try:
        query = urlsplit(url.strip()).query
    except ValueError:
        return None
    file = dict(parse_qsl(query, keep_blank_values=True)).get("operations")
    return None if file is None else _read(file)


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts, port = split(url, "log in with --auth instead")
    if not recognises(url) or not parts.hostname or port == 0:
        raise EndpointError(
            f"URL {shown(url)} is not one of a GraphQL API: write 'https://<host>/graphql', or"
            " 'graphql+https://<host>/<path>' for another path"
        )
    if parts.fragment:
        raise EndpointError(f"URL {shown(url)} has a fragment ('#…'): leave it out")
    return parts, port


def _query(parts: SplitResult, url: str, text: str | None) -> tuple[Carrier, str | None, Operations]:
    names: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in ("auth", "operations", *DEFAULTS):
            raise EndpointError(
                f"URL {shown(url)} has the query {name[:40]!a}: known are auth, operations, "
                + ", ".join(DEFAULTS)
            )
        if name in names:
            raise EndpointError(f"URL {shown(url)} has '{name}' twice in its query: give it once")
        names[name] = value
    written = names.pop("auth", "subprotocol")
    carrier = next((each for each in _CARRIERS if each == written), None)
    if carrier is None:
        raise EndpointError(
            f"URL {shown(url)} has 'auth={ascii(written[:40])[1:-1]}': it may be subprotocol or query"
        )
    file = names.pop("operations", None)
    try:
        if file is None:
            return carrier, None, by_names(names)
        if names:
            raise EndpointError(
                f"URL {shown(url)} has both 'operations' and '{next(iter(names))}': the file's documents name"
                " their own fields"
            )
        return carrier, file, by_document(_read(file) if text is None else text)
    except OperationsError as error:
        where = f"URL {shown(url)}" if file is None else f"the operations file {file[:200]!a}"
        raise EndpointError(f"{where} {error}") from None


def _read(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_MOST_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is not a file of text in UTF-8"
        raise EndpointError(f"the operations file {file[:200]!a} cannot be read: {said}") from None
    if len(content) > _MOST_FILE_BYTES:
        raise EndpointError(f"the operations file {file[:200]!a} is larger than {_MOST_FILE_BYTES:,} bytes")
    return text
