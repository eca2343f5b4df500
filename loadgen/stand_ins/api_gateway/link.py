"""The messages between the gateway and its backend: JSON lines, one for each invocation and one for each answer."""

from typing import Final

import msgspec

#: Maximum length of a line: a body of 128 KB may need six times as many bytes in JSON.
LINE_MAX_BYTES: Final = 2 * 1024 * 1024


class Start(msgspec.Struct, frozen=True):
    """The first line from the gateway to its backend: the URL of the `@connections` API, and the backend's options."""

    url: str
    """The URL of `@connections`, without a slash at its end."""
    token: str
    concurrency: int
    invocations: int
    query_ms: float
    retries: int
    acknowledge_after: bool
    journal: str | None = None


class Invocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of a client, or `$connect`, `$disconnect` or `$stats`."""

    number: int
    route: str
    connection: str = ""
    body: str = ""
    subject: str | None = None
    """The user whose token opened the connection; None for a client without restrictions."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to an invocation; its body, if any, goes to the client."""

    number: int
    body: str = ""
    failed: bool = False


encode: Final = msgspec.json.Encoder().encode
start: Final = msgspec.json.Decoder(Start).decode
invocation: Final = msgspec.json.Decoder(Invocation).decode
answer: Final = msgspec.json.Decoder(Answer).decode
