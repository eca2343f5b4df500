"""Classify a service's refusals and advise what to do: one table for HTTP statuses, error types and reason codes.

The table distinguishes permanent refusals from temporary ones, after which a retry can help. The error type takes
precedence over the status, since AWS services answer with status 400 when they throttle.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Final

import msgspec

#: The longest wait that we accept from a service's `Retry-After`, in seconds.
MOST_RETRY_AFTER_S: Final = 60.0
#: Bytes of a body in which we look for an error type.
_SEARCHED_BYTES: Final = 64 * 1024
#: Matches names that look like an error type; only these are shown, as any other text might repeat our login.
_ERROR_TYPE: Final = re.compile(
    r"[A-Za-z]{0,50}(?:Exception|Error|Exceeded|Denied|Unauthorized|Forbidden|Throttling|Unavailable|Fault|Failure|SlowDown)"
)


class Kind(Enum):
    """The kinds of refusal; their values are stored in the record."""

    #: The client lacks permission; a retry cannot help.
    DENIED = "denied"
    #: The client sent too much at once; a later try may succeed.
    THROTTLED = "throttled"
    #: The service, or a gateway in front of it, fails; a later try may succeed.
    FAILING = "failing"
    #: The address has no such service, or the service expects another request.
    UNSUITABLE = "unsuitable"


@dataclass(frozen=True, slots=True)
class _Row:
    kind: Kind
    advice: str
    statuses: frozenset[int]
    types: frozenset[str]


def _row(kind: Kind, advice: str, statuses: Iterable[int] = (), types: str = "") -> _Row:
    return _Row(kind, advice, frozenset(statuses), frozenset(types.lower().split()))


_THROTTLED: Final = _row(
    Kind.THROTTLED,
    "the target throttles: ramp more slowly (clients.NAME.ramp), give it more time (phases.ready_timeout), or have its"
    " quota raised",
    (429, 503),
    "LimitExceeded LimitExceededError LimitExceededException Throttling ThrottlingException ThrottledException"
    " TooManyRequestsException RequestLimitExceeded RateExceeded ServiceUnavailable ServiceUnavailableException"
    " SlowDown",
)
_FAILING: Final = _row(
    Kind.FAILING,
    "the service, or a gateway before it, fails: see its own log",
    (500, 502, 504),
    "InternalFailure InternalFailureException InternalServerError InternalServerException InternalError",
)
_DENIED: Final = _row(
    Kind.DENIED,
    "check the key or token: that it is the target's, has not expired, and may do this",
    (401, 403),
    "Unauthorized UnauthorizedException UnauthorizedError AccessDenied AccessDeniedException Forbidden"
    " ForbiddenException UnrecognizedClientException ExpiredTokenException InvalidSignatureException"
    " MissingAuthenticationTokenException",
)
_TABLE: Final = (
    _THROTTLED,
    _FAILING,
    _DENIED,
    _row(
        Kind.DENIED,
        "spread the subscriptions over more clients: the service takes no more on one connection",
        types="MaxSubscriptionsReachedError MaxSubscriptionsReached",
    ),
    _row(
        Kind.UNSUITABLE,
        "compare the request with what the service wants; a signature that does not match comes from another key,"
        " region or clock",
        types="BadRequestException BadRequest ValidationException",
    ),
    _row(
        Kind.UNSUITABLE,
        "check the URL: its host, its path, and that the service there speaks this protocol",
        (*range(200, 400), 400, 404, 405, 410, 426),
        "NotFoundException ResourceNotFound ResourceNotFoundException NoProtocolError",
    ),
    _row(Kind.DENIED, "a proxy on the way wants a login", (407,)),
)
_OTHER: Final = _row(Kind.DENIED, "see what the service says of it")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A service's refusal; ``retry_after_s`` is the wait that the service asks for (at most 60 s), or None."""

    kind: Kind
    advice: str
    retry_after_s: float | None = None

    @property
    def again(self) -> bool:
        """True if a later try may succeed."""
        return self.kind in (Kind.THROTTLED, Kind.FAILING)

    @classmethod
    def of(cls, status: int | None = None, types: Iterable[str | None] = ()) -> "Refusal":
        """Return the refusal that a status or one of the error types means; the types take precedence."""
        named = {each.lower() for each in types if each is not None}
        row = next((row for row in _TABLE if row.types & named), None)
        row = row or next((row for row in _TABLE if status in row.statuses), _OTHER)
        return cls(row.kind, row.advice)

    @classmethod
    def throttled(cls) -> "Refusal":
        """Return the refusal for a protocol's own code for "too much at once"."""
        return cls(_THROTTLED.kind, _THROTTLED.advice)

    @classmethod
    def denied(cls) -> "Refusal":
        """Return the refusal for a protocol's own code for "not permitted"."""
        return cls(_DENIED.kind, _DENIED.advice)


def of_answer(status: int, headers: Mapping[str, str], body: bytes | bytearray) -> tuple[str, Refusal]:
    """Return a short description of an HTTP answer without possible secrets, and the refusal that it means."""
    found = error_type(headers, body)
    refusal = Refusal.of(status, (found,))
    retry_after_s = _retry_after_s(headers) if refusal.again else None
    try:
        said = f"HTTP {status} ({HTTPStatus(status).phrase})"
    except ValueError:
        said = f"HTTP {status}"
    return said if found is None else f"{said}, {found}", Refusal(refusal.kind, refusal.advice, retry_after_s)


def error_type(headers: Mapping[str, str], body: bytes | bytearray) -> str | None:
    """Return the error type of an answer in the style of AWS services, or None if it has none."""
    if (written := headers.get("x-amzn-errortype")) is not None and (found := _checked(written)) is not None:
        return found
    try:
        content = msgspec.json.decode(bytes(body[:_SEARCHED_BYTES]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    errors = content.get("errors") if isinstance(content, dict) else None
    places = [content, content.get("error") if isinstance(content, dict) else None]
    places += errors[:5] if isinstance(errors, list) else []
    for place in places:
        if isinstance(place, dict):
            for name in ("errorType", "__type", "code", "Code", "error"):
                if (found := _checked(place.get(name))) is not None:
                    return found
    return None


def _checked(written: Any) -> str | None:
    if not isinstance(written, str):
        return None
    # Take the bare name from `com.amazonaws.appsync#LimitExceededException` or
    # `LimitExceededException:http://internal…`.
    bare = written[:200].partition(":")[0].rpartition("#")[2]
    return bare if _ERROR_TYPE.fullmatch(bare) else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that `Retry-After` asks for (RFC 9110, 10.2.3: seconds or a date), from 0 s to 60 s, or None."""
    written = (headers.get("retry-after") or "").strip()
    if written.isascii() and written.isdigit():
        return min(float(written[:9]), MOST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(written)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), MOST_RETRY_AFTER_S)
