"""Direct Lambda integration: functions for AWS Lambda as handlers of a namespace.

AWS calls the function with an event in the form of `ctx` and with Lambda's context object, and uses its answer as the
handler's result (AWS docs: direct Lambda integrations). `AppSyncEventsResolver` of Powertools for AWS Lambda is such a
function.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from loadgen.protocol.appsync.errors import UNAUTHORIZED, WireError
from loadgen.server.handlers import Context, HandlerError
from loadgen.server.refusal import RefusedError

LambdaHandler = Callable[[Any, Any], Any]

_UNAUTHORIZED: Final = "UnauthorizedException"
_MEMORY_MB: Final = 128


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """The attributes of AWS Lambda's context object that a function may read; the values are made up."""

    function_name: str
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = _MEMORY_MB
    log_group_name: str = "/aws/lambda/local"
    log_stream_name: str = "local"
    identity: None = None
    client_context: None = None

    @property
    def invoked_function_arn(self) -> str:
        """A made-up ARN, as the function runs in no AWS account."""
        return f"arn:aws:lambda:us-east-1:000000000000:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time limit of a handler in milliseconds, without subtracting the time that has passed."""
        return 30_000


def lambda_event(ctx: Context) -> dict[str, Any]:
    """Return the event that AWS sends to a Lambda function: `ctx` with the names that AWS uses.

    Source: the types and the model of the event in Powertools for AWS Lambda.
    """
    info = ctx.info
    return {
        "identity": None if ctx.identity is None else dict(ctx.identity),
        "result": None,
        "request": {"headers": dict(ctx.request.headers), "domainName": ctx.request.domain_name},
        "info": {
            "channel": {"path": info.channel.path, "segments": list(info.channel.segments)},
            "channelNamespace": {"name": info.channel_namespace.name},
            "operation": info.operation,
        },
        "error": None,
        "prev": None,
        "stash": dict(ctx.stash),
        "outErrors": [],
        "events": list(ctx.events) if info.operation == "PUBLISH" else None,
    }


def direct(function: LambdaHandler) -> Callable[[Context], Any]:
    """Return the handler that calls a function for AWS Lambda, for publishes or for subscriptions.

    If the function returns `{"events": [...]}`, the list is the handler's result. If it returns `{"error": "..."}`, the
    request is refused as by `util.error()` (assumption: AWS documents that the request fails, not the error's type). If
    it raises an exception named `UnauthorizedException`, the request is refused with 403 (Powertools' documentation).
    Any other exception counts as a failure of the handler.
    """

    def handler(ctx: Context) -> Any:
        context = LambdaContext(getattr(function, "__name__", type(function).__name__))
        try:
            answer = function(lambda_event(ctx), context)
        except Exception as error:
            if type(error).__name__ == _UNAUTHORIZED:
                refusal = WireError(_UNAUTHORIZED, str(error) or UNAUTHORIZED.message)
                raise RefusedError(refusal, HTTPStatus.FORBIDDEN) from None
            raise
        if answer is None:
            return None
        if error_text := answer.get("error"):
            raise HandlerError(str(error_text))
        return answer.get("events")

    return handler
