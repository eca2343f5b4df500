"""The options of the API Gateway stand-in, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Self

from loadgen.protocol.api_gateway import limits
from loadgen.stand_ins import options
from loadgen.stand_ins.options import OptionError

Authorizer = Literal["none", "custom", "iam"]
Acknowledge = Literal["after", "before"]

_AUTHORIZERS: Final[tuple[Authorizer, ...]] = ("none", "custom", "iam")
_ACKNOWLEDGES: Final[tuple[Acknowledge, ...]] = ("after", "before")
_MOST: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the stand-in; on the command line, their names have `-` in place of `_`.

    An option that ends in `_every` is off if it is 0.
    """

    authorizer: Authorizer = "none"
    """The authorization of `$connect`: `none`, `custom` (the API key or a token of ``users``, in a header or the
    query), or `iam` (SigV4 with the credentials in this process's environment)."""
    users: Path | None = None
    """CSV file with the columns `id` and `token`, a row for each client. These clients may subscribe only to channels
    that end in their id, and may not publish. Needs `authorizer=custom`."""
    idle_s: float = limits.IDLE_TIMEOUT_S
    """Time without a message, in seconds, after which a connection is closed with code 1001."""
    lifetime_s: float = limits.CONNECTION_LIFETIME_S
    """Time in seconds after which every connection is closed with code 1001."""
    pings_count: bool = False
    """True if a ping counts as a message for ``idle_s``. Whether AWS counts pings is not known."""
    account_rate: float = 0.0
    """Maximum number of requests per second of the account: connects, messages and POSTs to @connections together. 0
    means no limit. AWS's default is 10,000 with a burst of 5,000."""
    account_burst: float = limits.REQUESTS_BURST
    """Capacity of the account's token bucket: the number of requests that may come at once. The bucket is refilled at
    ``account_rate``."""
    buffer_bytes: int = 1024 * 1024
    """A POST is refused with 429 if more than this number of bytes wait to be sent to its client. AWS's limit is not
    known."""
    post_delay_ms: float = 0.0
    """Time in milliseconds that each POST to @connections takes before its message is sent."""
    concurrency: int = 50
    """Maximum number of POSTs that one publish has open at once; the Node SDK in a Lambda function has 50 sockets."""
    invocations: int = 1_000
    """Maximum number of messages that the backend works on at once, like Lambda's concurrency."""
    query_ms: float = 0.0
    """Time in milliseconds that the backend waits before it sends a message to all subscribers, as if it queried a
    database."""
    retries: int = 2
    """Number of times that the backend repeats a POST that was answered with 429 or 5xx, as AWS's SDKs do."""
    acknowledge: Acknowledge = "after"
    """When the backend answers a publish: `after` its fan-out, as a Lambda function must, or `before` it."""
    lose_every: int = 0
    """Every Nth accepted POST is answered with 200, but its message is not sent."""
    gone_every: int = 0
    """Every Nth POST cuts the connection to which it should send, and is answered with 410, as if the client had just
    gone."""
    throttle_every: int = 0
    """Every Nth POST is answered with 429."""
    fail_every: int = 0
    """Every Nth message from the clients fails in the backend: its client gets `Internal server error`."""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Self:
        """Return the options with these names and values.

        Raises:
            OptionError: a name is unknown, or a value is not valid.
        """
        read, default = options.Options(given), cls()

        def number(name: str, usual: float) -> float:
            return read.number(name, usual, 0, _MOST)

        def count(name: str, usual: int, least: int = 0) -> int:
            return read.integer(name, usual, least, _MOST)

        users = read.text("users")
        made = cls(
            authorizer=read.word("authorizer", default.authorizer, _AUTHORIZERS),
            users=None if users is None else Path(users),
            idle_s=number("idle-s", default.idle_s),
            lifetime_s=number("lifetime-s", default.lifetime_s),
            pings_count=read.word("pings-count", "no", ("no", "yes")) == "yes",
            account_rate=number("account-rate", default.account_rate),
            account_burst=number("account-burst", default.account_burst),
            buffer_bytes=count("buffer-bytes", default.buffer_bytes),
            post_delay_ms=number("post-delay-ms", default.post_delay_ms),
            concurrency=count("concurrency", default.concurrency, 1),
            invocations=count("invocations", default.invocations, 1),
            query_ms=number("query-ms", default.query_ms),
            retries=count("retries", default.retries),
            acknowledge=read.word("acknowledge", default.acknowledge, _ACKNOWLEDGES),
            lose_every=count("lose-every", default.lose_every),
            gone_every=count("gone-every", default.gone_every),
            throttle_every=count("throttle-every", default.throttle_every),
            fail_every=count("fail-every", default.fail_every),
        )
        read.finish()
        if made.users is not None and made.authorizer != "custom":
            raise OptionError("--option users goes with authorizer=custom: add --option authorizer=custom")
        return made
