"""The errors of the service, for both transports.

`errorType` and `message` are those of the fact sheet (docs/reference/appsync-events.md, section 1.4). The docstring of
each constant names its source; the fact sheet lists the repositories of the clients whose code or tests show the error.
A message or code of None is omitted from the frame.
"""

from typing import Final

import msgspec


class WireError(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """An entry of an `errors` list. Message and code may be missing (seen on AWS by AWS's Android client)."""

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
"""Error for a connect with a bad key (seen on AWS by the client auvred/aws-appsync-events)."""

CONNECT_BAD_HEADER: Final = WireError("BadRequestException", "Invalid authorization header", 400)
"""Error for a connect whose `header-` subprotocol is not base64url of a JSON object with `host` (assumption)."""

CONNECT_NO_PROTOCOL: Final = WireError("NoProtocolError", None, 400)
"""Error for a connect that does not offer the subprotocol `aws-appsync-event-ws` (assumption).

The error's name is that of AppSync's GraphQL API.
"""

UNAUTHORIZED: Final = WireError("UnauthorizedException", _NOT_AUTHORIZED)
"""Error for a publish with a bad key, over HTTP or WebSocket (seen on AWS by AWS's Android client).

A subscribe with a bad key presumably gets the same error.
"""

UNDEFINED_NAMESPACE: Final = WireError("UnauthorizedException")
"""Error for a publish to a namespace that does not exist (seen on AWS by AWS's Android client).

A subscribe presumably gets the same error.
"""

UNSUPPORTED_OPERATION: Final = WireError(
    "UnsupportedOperation", "Operation not supported through the realtime channel"
)
"""Error for a malformed frame or an unknown `type`.

It is sent in an `error` frame without an id (source: mocked tests of several clients).
"""

INVALID_CHANNEL: Final = WireError("BadRequestException", "Invalid Channel Format")
"""Error for a subscribe to a malformed channel (source: a mocked test of auvred/aws-appsync-events).

A publish presumably gets the same error.
"""

INVALID_OPERATION_ID: Final = WireError("BadRequestException", "Invalid operation id")
"""Error for an operation's id of the wrong form (assumption)."""

MAX_SUBSCRIPTIONS_REACHED: Final = WireError("MaxSubscriptionsReachedError")
"""Error for more than 200 subscriptions on a connection.

AWS's Swift and Android clients have the name. The text is unknown.
"""

LIMIT_EXCEEDED: Final = WireError("LimitExceededError", "Rate limit exceeded")
"""Error for an exceeded rate quota. Its name is from AWS's Android client, its text from AppSync's GraphQL API."""

TOO_MANY_EVENTS_WEBSOCKET: Final = WireError("InvalidInputError", "input exceeded 5 event limit")
"""Error for a publish of more than five events over WebSocket (seen on AWS by AWS's Android client)."""

TOO_MANY_EVENTS_HTTP: Final = WireError("BadRequestException", "Input exceeded 5 event limit")
"""Error for a publish of more than five events over HTTP, status 400 (seen on AWS by AWS's Android client)."""

INVALID_EVENTS: Final = WireError("BadRequestException", "Events must be a list of 1 to 5 JSON strings")
"""Error for a publish without events, or with an event that is not a string of valid JSON.

AWS's documentation forbids both. The name and the text of the error are an assumption.
"""

INVALID_BODY: Final = WireError("BadRequestException", "Invalid request body")
"""Error for an HTTP body that is not a publish request (assumption)."""

PAYLOAD_TOO_LARGE: Final = WireError("PayloadTooLargeException", "Payload exceeds 1.2 MB")
"""Error for a publish request above 1.2 MB, with HTTP status 413 (assumption)."""

SUBSCRIPTION_PROCESSING: Final = WireError(
    "SubscriptionProcessingError", "There was an error processing the operation"
)
"""Error in the `subscribe_error` frame that AWS's documentation shows."""

MESSAGE_PROCESSING: Final = WireError("MessageProcessingError", "There was an error processing the message")
"""Error in the `broadcast_error` frame that AWS's documentation shows."""

SIGNATURE_INCOMPLETE: Final = WireError(
    "BadRequestException", "The request signature is incomplete or malformed"
)
"""Error for a SigV4 `Authorization` that cannot be parsed, or whose signed headers are missing (assumption)."""

SIGNATURE_EXPIRED: Final = WireError("BadRequestException", "Signature expired or not yet valid")
"""Error for an `x-amz-date` too far from the current time, or of another day than the credential scope (assumption)."""

UNKNOWN_ACCESS_KEY: Final = WireError(
    "UnrecognizedClientException", "The security token included in the request is invalid."
)
"""Error for an unknown access key or a wrong session token (assumption: the usual answer of AWS services)."""

ACCESS_DENIED: Final = WireError(
    "AccessDeniedException", "User is not authorized to perform the operation on the resource"
)
"""Error for a valid signature of a user who may not perform the IAM action (assumption: usual for AWS services)."""

TOKEN_EXPIRED: Final = WireError("UnauthorizedException", "Token has expired.")
"""Error for a JSON Web Token past its `exp` (assumption: the text is that of AppSync's GraphQL API)."""

HANDLER_UNAUTHORIZED: Final = WireError("Unauthorized", "Unauthorized")
"""Error for an event whose handler calls `util.unauthorized()`.

Its name was seen on AWS (amplify-js issue #14947). The text is an assumption.
"""

EVENT_TOO_LARGE_CODE: Final = "EventTooLargeException"
"""Value of `failed[].code` for an event above 240 KB; HTTP status 200 (seen on AWS by auvred/aws-appsync-events)."""

EVENT_TOO_LARGE_MESSAGE: Final = "Transformed event is larger than 240KB"
"""Value of `failed[].message` for an event above 240 KB (seen on AWS by auvred/aws-appsync-events)."""


def duplicated_operation(operation_id: str) -> WireError:
    """Return the error for a subscription id that is already in use.

    The name is from a secondary source; the text is that of AppSync's GraphQL API.
    """
    return WireError("DuplicatedOperationError", f"Duplicated operation with id {operation_id}")


def unknown_operation(operation_id: str) -> WireError:
    """Return the error for an unsubscribe with an unknown id (AWS docs)."""
    return WireError("UnknownOperationError", f"Unknown operation id {operation_id}")


def signature_mismatch(canonical_request: str) -> WireError:
    """Return the error for a wrong IAM signature; it repeats the canonical string (as in amplify-js issue #14001)."""
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
