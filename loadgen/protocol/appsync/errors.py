"""The errors of the service, for both transports.

`errorType` and `message` are those of the fact sheet (docs/reference/appsync-events.md, section 1.4). The docstring of
each constant names its source; the fact sheet lists the repositories of the clients whose code or tests show the error.
A message or code of None is omitted from the frame.
"""

from typing import Final

import msgspec


class WireError(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An entry of an `errors` list. Message and code may be missing (AWS's Android client saw this on AWS)."""

    error_type: str | None = None
    message: str | None = None
    error_code: int | str | None = None

    def __str__(self) -> str:
        text = self.error_type or "error of no type"
        # AWS answers a wrong signature with the canonical string, session token included: keep it out of all logs.
        message = (self.message or "").partition("The Canonical String")[0].strip()
        return f"{text}: {message}" if message else text


_NOT_AUTHORIZED = "You are not authorized to make this call."

CONNECT_UNAUTHORIZED: Final = WireError("UnauthorizedException", _NOT_AUTHORIZED, 401)
"""Connect with a bad key (seen on AWS by the client auvred/aws-appsync-events)."""

CONNECT_BAD_HEADER: Final = WireError("BadRequestException", "Invalid authorization header", 400)
"""Connect with a `header-` subprotocol that is not base64url of a JSON object with `host` (assumption)."""

CONNECT_NO_PROTOCOL: Final = WireError("NoProtocolError", None, 400)
"""Connect without offering `aws-appsync-event-ws` (assumption; the name is that of AppSync's GraphQL API)."""

UNAUTHORIZED: Final = WireError("UnauthorizedException", _NOT_AUTHORIZED)
"""Publish with a bad key, over HTTP or WebSocket (seen on AWS by its Android client); presumably subscribe too."""

UNDEFINED_NAMESPACE: Final = WireError("UnauthorizedException")
"""Publish to a namespace that does not exist (seen on AWS by its Android client); presumably subscribe too."""

UNSUPPORTED_OPERATION: Final = WireError(
    "UnsupportedOperation", "Operation not supported through the realtime channel"
)
"""Malformed frame or unknown `type`, sent as `error` without id (mocked tests of several clients)."""

INVALID_CHANNEL: Final = WireError("BadRequestException", "Invalid Channel Format")
"""Subscribe to a bad channel (in a mocked test of auvred/aws-appsync-events); presumably publish too."""

INVALID_OPERATION_ID: Final = WireError("BadRequestException", "Invalid operation id")
"""An id that breaks the grammar of ids (assumption)."""

MAX_SUBSCRIPTIONS_REACHED: Final = WireError("MaxSubscriptionsReachedError")
"""More than 200 subscriptions on a connection (AWS's Swift and Android clients name it). The text is not known."""

LIMIT_EXCEEDED: Final = WireError("LimitExceededError", "Rate limit exceeded")
"""A rate quota is exceeded. AWS's Android client has the name; the text is that of AppSync's GraphQL API."""

TOO_MANY_EVENTS_WEBSOCKET: Final = WireError("InvalidInputError", "input exceeded 5 event limit")
"""More than five events over WebSocket (seen on AWS by its Android client)."""

TOO_MANY_EVENTS_HTTP: Final = WireError("BadRequestException", "Input exceeded 5 event limit")
"""More than five events over HTTP, status 400 (seen on AWS by its Android client)."""

INVALID_EVENTS: Final = WireError("BadRequestException", "Events must be a list of 1 to 5 JSON strings")
"""No events, or an event that is not a string of valid JSON (AWS docs). The error itself is an assumption."""

INVALID_BODY: Final = WireError("BadRequestException", "Invalid request body")
"""An HTTP body that is not a publish request (assumption)."""

PAYLOAD_TOO_LARGE: Final = WireError("PayloadTooLargeException", "Payload exceeds 1.2 MB")
"""A publish request above 1.2 MB, HTTP status 413 (assumption)."""

SUBSCRIPTION_PROCESSING: Final = WireError(
    "SubscriptionProcessingError", "There was an error processing the operation"
)
"""The error of the `subscribe_error` in the documentation (AWS docs)."""

MESSAGE_PROCESSING: Final = WireError("MessageProcessingError", "There was an error processing the message")
"""The error of the `broadcast_error` in the documentation (AWS docs)."""

SIGNATURE_INCOMPLETE: Final = WireError(
    "BadRequestException", "The request signature is incomplete or malformed"
)
"""A SigV4 `Authorization` that cannot be parsed, or whose signed headers are missing (assumption)."""

SIGNATURE_EXPIRED: Final = WireError("BadRequestException", "Signature expired or not yet valid")
"""An `x-amz-date` too far from the current time, or of another day than the credential scope (assumption)."""

UNKNOWN_ACCESS_KEY: Final = WireError(
    "UnrecognizedClientException", "The security token included in the request is invalid."
)
"""An unknown access key or a wrong session token (assumption: the usual answer of AWS services)."""

ACCESS_DENIED: Final = WireError(
    "AccessDeniedException", "User is not authorized to perform the operation on the resource"
)
"""A valid signature of a user without permission for the IAM action (assumption: the usual answer of AWS services)."""

TOKEN_EXPIRED: Final = WireError("UnauthorizedException", "Token has expired.")
"""A JSON Web Token past its `exp` (assumption: the text of AppSync's GraphQL API)."""

HANDLER_UNAUTHORIZED: Final = WireError("Unauthorized", "Unauthorized")
"""A handler calls `util.unauthorized()`. The type was seen on AWS (amplify-js #14947), the text is an assumption."""

EVENT_TOO_LARGE_CODE: Final = "EventTooLargeException"
"""`failed[].code` of an event above 240 KB, with HTTP status 200 (seen on AWS by auvred/aws-appsync-events)."""

EVENT_TOO_LARGE_MESSAGE: Final = "Transformed event is larger than 240KB"
"""`failed[].message` of an event above 240 KB (seen on AWS by auvred/aws-appsync-events)."""


def duplicated_operation(operation_id: str) -> WireError:
    """Return the error for a subscription id that is already in use.

    The name is from a secondary source; the text is that of AppSync's GraphQL API.
    """
    return WireError("DuplicatedOperationError", f"Duplicated operation with id {operation_id}")


def unknown_operation(operation_id: str) -> WireError:
    """Return the error for an unsubscribe with an unknown id (AWS docs)."""
    return WireError("UnknownOperationError", f"Unknown operation id {operation_id}")


def signature_mismatch(canonical_request: str) -> WireError:
    """Return the error for a wrong IAM signature, with the canonical string (AWS: amplify-js #14001)."""
    return WireError(
        "BadRequestException",
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        f"Key and signing method. The Canonical String for this request should have been\n'{canonical_request}'",
    )


def signature_scope(region: str, service: str) -> WireError:
    """Return the error for a credential scope of another region or service (assumption)."""
    return WireError(
        "BadRequestException", f"Credential should be scoped to region {region} and service {service}"
    )
