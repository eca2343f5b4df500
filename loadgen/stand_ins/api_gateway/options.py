"""The stand-in's own options, checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

from loadgen.protocol.api_gateway import limits


class OptionError(ValueError):
    """An option cannot be used; the message is one sentence."""


Authorizer = Literal["none", "custom", "iam"]


@dataclass(frozen=True, slots=True)
class Options:
    """The stand-in's options, written with `-` in place of `_`; an every-N option is off at 0."""

    authorizer: Authorizer = "none"
    """The authorization of `$connect`: `none`, `custom` (the API key or a token of ``users``, in a header or the
    query), or `iam` (SigV4 with the credentials in this process's environment)."""
    users: Path | None = None
    """CSV file with the columns `id` and `token`: clients that may subscribe only to channels that end in their id, and
    may not publish. Needs `authorizer=custom`."""
    idle_s: float = limits.IDLE_TIMEOUT_S
    """Seconds without a message after which a connection is closed with 1001."""
    lifetime_s: float = limits.CONNECTION_LIFETIME_S
    """Seconds after which every connection is closed with 1001."""
    pings_count: bool = False
    """True if a ping counts as a message for ``idle_s``; it is not known what the service does."""
    account_rate: float = 0.0
    """Requests per second of the account: connects, messages and @connections together; 0 for no limit. The service's
    default is 10,000 with a burst of 5,000."""
    account_burst: float = limits.REQUESTS_BURST
    """Size of the token bucket behind ``account_rate``."""
    buffer_bytes: int = 1024 * 1024
    """Unsent bytes of a client from which on a POST is refused with 429; the service's figure is not known."""
    post_delay_ms: float = 0.0
    """Time that each POST to @connections takes before its message is sent, in milliseconds."""
    concurrency: int = 50
    """POSTs that one publish has open at once, as a Lambda function with the Node SDK's 50 sockets."""
    invocations: int = 1_000
    """Messages that the backend works on at once, as Lambda's concurrency."""
    query_ms: float = 0.0
    """Time that the backend waits for its table before a fan-out, in milliseconds."""
    retries: int = 2
    """How often the backend repeats a POST that was answered with 429 or 5xx, as AWS's SDKs do."""
    acknowledge: Literal["after", "before"] = "after"
    """Whether the backend answers a publish after its fan-out, as a Lambda function must, or before."""
    lose_every: int = 0
    """Every Nth accepted POST sends nothing."""
    gone_every: int = 0
    """Every Nth POST finds that its connection has just been cut, and is answered with 410."""
    throttle_every: int = 0
    """Every Nth POST is answered with 429."""
    fail_every: int = 0
    """Every Nth message of a client fails in the backend: the client gets `Internal server error`."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Return the options with these names and values.

        Raises:
            OptionError: a name is unknown, or a value is not valid.
        """
        known = {field.name.replace("_", "-"): field for field in fields(cls)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise OptionError(
                    f"--option {name[:50]!a} is not known to api-gateway: known are {', '.join(known)}"
                )
            values[known[name].name] = _read(name, known[name].name, value)
        made = cls(**values)
        if made.users is not None and made.authorizer != "custom":
            raise OptionError("--option users goes with authorizer=custom: add --option authorizer=custom")
        return made


def _read(name: str, field: str, value: str) -> Any:
    reader = _READERS.get(field)
    try:
        found = _number(value) if reader is None else reader(value)
    except ValueError as error:
        raise OptionError(f"--option {name} is not valid: {error}") from None
    return found


def _number(value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1e9:
        raise ValueError("write a number that is not negative, as 2.5")
    return found


def _whole(least: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and int(value) >= least):
            raise ValueError(f"write a whole number from {least}, as 50")
        return int(value)

    return read


def _one_of(*choices: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"it may be {' or '.join(choices)}")
        return value

    return read


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "authorizer": _one_of("none", "custom", "iam"),
    "users": Path,
    "pings_count": lambda value: _one_of("no", "yes")(value) == "yes",
    "acknowledge": _one_of("after", "before"),
    "concurrency": _whole(1),
    "invocations": _whole(1),
    **dict.fromkeys(
        ("buffer_bytes", "retries", "lose_every", "gone_every", "throttle_every", "fail_every"), _whole(0)
    ),
}
