"""Channel namespace handlers: Python callables in place of AWS's JavaScript handlers.

A handler receives a :class:`Context`, with the properties of AWS's `ctx` in snake case. It may be a coroutine function.
Other functions run in a thread, one call at a time (:mod:`loadgen.server.synchronous`). A function for AWS Lambda
becomes a handler by :func:`loadgen.server.direct_lambda.direct`.

    def on_publish(ctx):
        return [event for event in ctx.events if event["payload"].get("public")]

    def on_subscribe(ctx):
        if ctx.info.channel.segments[-1] == "*":
            raise Unauthorized
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec

from loadgen.protocol.appsync import errors
from loadgen.protocol.appsync.errors import WireError
from loadgen.server.refusal import RefusedError
from loadgen.server.synchronous import BusyError, SynchronousCalls, call

TIMEOUT_S: Final = 30.0
"""Timeout of a handler (secondary source; see docs/reference/appsync-events.md, section 5)."""

_log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Unauthorized(Exception):  # noqa: N818  named after `util.unauthorized()` of JavaScript handlers
    """Raise this exception in a handler to refuse the request as `Unauthorized` (AWS: amplify-js #14947)."""


class HandlerError(Exception):
    """Raise this exception in a handler to refuse the request with a message and type, as `util.error()` does."""

    def __init__(self, message: str, error_type: str = "HandlerError") -> None:
        super().__init__(message)
        self.error_type = error_type


@dataclass(frozen=True, slots=True)
class Channel:
    """The channel of the request; that of a wildcard subscription includes the `*` (AWS docs)."""

    path: str
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChannelNamespace:
    """The channel's namespace."""

    name: str


@dataclass(frozen=True, slots=True)
class Info:
    """The operation and its channel."""

    channel: Channel
    channel_namespace: ChannelNamespace
    operation: Literal["PUBLISH", "SUBSCRIBE"]


@dataclass(frozen=True, slots=True)
class Request:
    """The headers of the request, with lower-case names and no credentials. `domain_name` is AWS's `domainName`."""

    headers: Mapping[str, str]
    domain_name: str | None = None


@dataclass(slots=True)
class Context:
    """The `ctx` of a handler. Each of `events` has `id` and `payload` (parsed JSON); on subscribe there are none."""

    identity: Mapping[str, Any] | None
    info: Info
    request: Request
    events: list[dict[str, Any]] = field(default_factory=list)
    stash: dict[str, Any] = field(default_factory=dict)


OutgoingEvents = Sequence[Mapping[str, Any]] | None
OnPublish = Callable[[Context], OutgoingEvents | Awaitable[OutgoingEvents]]
OnSubscribe = Callable[[Context], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A handler's result for one event: the JSON text to broadcast or an error, or neither if it was filtered out."""

    text: str | None = None
    error: str | None = None


def context(
    operation: Literal["PUBLISH", "SUBSCRIBE"],
    channel: str,
    namespace: str,
    identity: Mapping[str, Any] | None,
    headers: Mapping[str, str],
) -> Context:
    """Return the context for a valid, normalised channel; `headers` must have lower-case names."""
    segments = tuple(channel[1:].split("/"))
    shown = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
    return Context(
        identity, Info(Channel(channel, segments), ChannelNamespace(namespace), operation), Request(shown)
    )


async def run_on_subscribe(handler: OnSubscribe, ctx: Context, calls: SynchronousCalls) -> None:
    """Run the handler of a subscription; ``calls`` runs it in a thread unless it is a coroutine function.

    Raises:
        RefusedError: the handler refused the subscription, or failed.
    """
    await _call(handler, ctx, calls, errors.SUBSCRIPTION_PROCESSING)


async def run_on_publish(
    handler: OnPublish, ctx: Context, events: Mapping[str, str], calls: SynchronousCalls
) -> dict[str, Outcome]:
    """Run the handler of a publish; return, by id, the outcome of each event that the handler returned, in that order.

    ``calls`` runs the handler in a thread unless it is a coroutine function. `events` are JSON texts by id. Events that
    the handler does not return are filtered out. If it returns None, all events are filtered out (assumption: the type
    allows null, but AWS does not document its meaning). An unknown or repeated id refuses the whole publish (AWS docs).

    Raises:
        RefusedError: the handler refused, failed, or returned something other than a list of its events.
    """
    ctx.events = [{"id": identifier, "payload": _decode(text)} for identifier, text in events.items()]
    returned = await _call(handler, ctx, calls, errors.MESSAGE_PROCESSING)
    outcomes: dict[str, Outcome] = {}
    try:
        for event in returned or ():
            identifier = event["id"]
            if identifier not in events or identifier in outcomes:
                raise ValueError(f"unknown or repeated event id {identifier!r}")
            error = event.get("error")
            if error is not None:
                outcomes[identifier] = Outcome(error=str(error))
            else:
                outcomes[identifier] = Outcome(_encode(event["payload"]).decode())
    except Exception:
        _log.exception("the onPublish handler answered something else than a list of its events")
        raise RefusedError(errors.MESSAGE_PROCESSING, HTTPStatus.INTERNAL_SERVER_ERROR) from None
    return outcomes


_SECRET_HEADERS = frozenset({"authorization", "x-api-key", "x-amz-security-token", "sec-websocket-protocol"})


async def _call(
    handler: Callable[[Context], Any], ctx: Context, calls: SynchronousCalls, failed: WireError
) -> Any:
    try:
        returned = await call(calls, handler, ctx, timeout_s=TIMEOUT_S)
    except Unauthorized:
        raise RefusedError(errors.HANDLER_UNAUTHORIZED, HTTPStatus.UNAUTHORIZED) from None
    except RefusedError:
        raise
    except HandlerError as error:
        raise RefusedError(WireError(error.error_type, str(error)), HTTPStatus.FORBIDDEN) from None
    except BusyError:
        _log.error("a handler is not called: others have not returned for longer than %g s", TIMEOUT_S)
        raise RefusedError(failed, HTTPStatus.INTERNAL_SERVER_ERROR) from None
    except Exception:
        # The developer sees the traceback on the server's terminal; the client gets a fixed text.
        _log.exception("a handler failed")
        raise RefusedError(failed, HTTPStatus.INTERNAL_SERVER_ERROR) from None
    return returned
