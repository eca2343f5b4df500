"""Messages of both directions as msgspec structs, with encoders that return the bytes of one text frame.

Keys may have any order on the wire; the encoders use AWS's order where it is known. `event` is a JSON string with one
event per frame. The documentation shows a list, but all clients that were tested on AWS agree on the string; the
decoder accepts both.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.appsync.limits import OPERATION_ID_MAX_CHARACTERS
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.unreadable import cut

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions of the decoders for a message that is not JSON, has another form, is not UTF-8, or is nested about a
thousand levels deep."""

_OPERATION_ID = re.compile(rf"[a-zA-Z0-9\-_+]{{1,{OPERATION_ID_MAX_CHARACTERS}}}", re.ASCII)
_encode = msgspec.json.Encoder().encode


def is_operation_id(text: str) -> bool:
    """Return whether the text may be the id of a subscribe, unsubscribe or publish (AWS docs)."""
    return _OPERATION_ID.fullmatch(text) is not None


# --- both transports ---


class SuccessfulEvent(msgspec.Struct, frozen=True, gc=False):
    """An accepted event of a publish."""

    identifier: str | None = None
    index: int | None = None


class FailedEvent(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A refused event of a publish; sources disagree on the keys and on the type of `code`, so all variants are read.

    The keys are in the order of AWS's own answer (seen on AWS by the client auvred/aws-appsync-events), since some
    clients compare the answer as text.
    """

    code: str | int | None = None
    identifier: str | None = None
    index: int | None = None
    message: str | None = None
    error_code: str | int | None = msgspec.field(default=None, name="errorCode")
    error_message: str | None = msgspec.field(default=None, name="errorMessage")

    def describe(self) -> str:
        """Return the code and message in one line."""
        code = self.code if self.code is not None else self.error_code
        message = self.message or self.error_message
        text = "refused" if code is None else str(code)
        return cut(f"{text}: {message}" if message else text)


class PublishRequest(msgspec.Struct, frozen=True):
    """Body of `POST /event`."""

    channel: str
    events: list[Any]


class PublishResponse(msgspec.Struct, frozen=True):
    """Body of the answer 200 to `POST /event`."""

    failed: list[FailedEvent] = []
    successful: list[SuccessfulEvent] = []


class ErrorResponse(msgspec.Struct, frozen=True):
    """Body of an answer other than 200."""

    errors: list[WireError] = []


encode_http = _encode
"""Encoder of the HTTP bodies above."""
decode_publish_request = msgspec.json.Decoder(PublishRequest).decode
decode_publish_response = msgspec.json.Decoder(PublishResponse).decode
decode_error_response = msgspec.json.Decoder(ErrorResponse).decode


def publish_request(channel: str, events: Sequence[str]) -> bytes:
    """Return the body of a `POST /event`; each event is a string of JSON."""
    return _encode({"channel": channel, "events": events})


# --- client to server ---


class ClientMessage(msgspec.Struct, frozen=True):
    """Any message of a client; unknown fields are ignored (Amplify sends some)."""

    type: str
    id: str | None = None
    channel: str | None = None
    events: Any = None
    authorization: dict[str, Any] | None = None


decode_client_message = msgspec.json.Decoder(ClientMessage).decode
"""Decodes a message of a client; raises msgspec.MsgspecError (a ValueError) for anything else."""

_CONNECTION_INIT: Final = b'{"type":"connection_init"}'


def connection_init() -> bytes:
    """Return the message that asks for `connection_ack`; sending it is optional (AWS docs)."""
    return _CONNECTION_INIT


def subscribe(operation_id: str, channel: str, authorization: Mapping[str, str]) -> bytes:
    """Return a subscribe message; the id names the subscription in every later message."""
    return _encode(
        {"type": "subscribe", "id": operation_id, "channel": channel, "authorization": authorization}
    )


def unsubscribe(operation_id: str) -> bytes:
    """Return the message that ends the subscription with this id."""
    return _encode({"type": "unsubscribe", "id": operation_id})


def publish(
    operation_id: str, channel: str, events: Sequence[str], authorization: Mapping[str, str]
) -> bytes:
    """Return a publish message; each event is a string of JSON."""
    return _encode(
        {
            "type": "publish",
            "id": operation_id,
            "channel": channel,
            "events": events,
            "authorization": authorization,
        }
    )


def publish_frame(channel: str, authorization: Mapping[str, str]) -> tuple[bytes, bytes, bytes]:
    """Return a publish message in three parts: the bytes before its id, between id and events, and after the events."""
    rest = _encode({"authorization": authorization})
    return b'{"type":"publish","id":"', b'","channel":' + _encode(channel) + b',"events":[', b"]," + rest[1:]


# --- server to client ---


def refusal_of(errors: Sequence[WireError], status: int | None = None) -> Refusal:
    """Classify errors by type; if no type is known, by the first code; if there is no code, by the HTTP status."""
    codes = [error.error_code for error in errors if isinstance(error.error_code, int)]
    return Refusal.of(codes[0] if codes else status, [error.error_type for error in errors])


class ServerMessage(msgspec.Struct, frozen=True, gc=False):
    """Any message of the server; which fields are set depends on `type`."""

    type: str
    id: str | None = None
    event: str | list[str] | None = None
    errors: list[WireError] | None = None
    connection_timeout_ms: int | None = msgspec.field(default=None, name="connectionTimeoutMs")
    successful: list[SuccessfulEvent] | None = None
    failed: list[FailedEvent] | None = None

    def describe_errors(self) -> str:
        """Return the errors in one line, for a log or a record."""
        return cut("; ".join(map(str, self.errors or ()))) or f"{self.type} without errors"

    def refusal(self) -> Refusal:
        """Return the refusal that the errors mean."""
        return refusal_of(self.errors or ())


decode_server_message = msgspec.json.Decoder(ServerMessage).decode
"""Decodes a message of the server; raises msgspec.MsgspecError (a ValueError) for anything else."""


class DataMessage(msgspec.Struct, frozen=True, gc=False, tag_field="type", tag="data"):
    """A delivery as AWS sends it, with one event. Nearly all messages of a load test are deliveries."""

    id: str
    event: str


decode_data_message = msgspec.json.Decoder(DataMessage).decode
"""For the hot path: decodes deliveries. For any other message it raises one of `UNREADABLE`; the caller must then use
`decode_server_message`."""

KEEPALIVE: Final = b'{"type":"ka"}'


def connection_ack(connection_timeout_ms: int) -> bytes:
    """Return the answer to `connection_init`; the timeout is in milliseconds."""
    return _encode({"type": "connection_ack", "connectionTimeoutMs": connection_timeout_ms})


def error(message_type: str, errors: Sequence[WireError], operation_id: str | None = None) -> bytes:
    """Return a `connection_error`, `error`, `subscribe_error`, `publish_error` or the like, with or without an id."""
    if operation_id is None:
        return _encode({"type": message_type, "errors": errors})
    if message_type == "publish_error":
        # In AWS's documentation the id comes first in a `publish_error`, and the type first in a `subscribe_error`.
        return _encode({"id": operation_id, "type": message_type, "errors": errors})
    return _encode({"type": message_type, "id": operation_id, "errors": errors})


def subscribe_success(operation_id: str) -> bytes:
    """Return the answer to a subscribe that succeeded."""
    return _encode({"type": "subscribe_success", "id": operation_id})


def unsubscribe_success(operation_id: str) -> bytes:
    """Return the answer to an unsubscribe."""
    return _encode({"type": "unsubscribe_success", "id": operation_id})


def publish_success(
    operation_id: str, successful: Sequence[SuccessfulEvent], failed: Sequence[FailedEvent]
) -> bytes:
    """Return the answer to a publish; ``successful`` and ``failed`` refer to the events by index."""
    return _encode(
        {"id": operation_id, "type": "publish_success", "successful": successful, "failed": failed}
    )


def data(operation_id: str, event: str) -> bytes:
    """Return the message that delivers one event to one subscription: :func:`data_head`, then :func:`data_tail`."""
    return data_head(operation_id) + data_tail(event)


def data_head(operation_id: str) -> bytes:
    """Return the first part of a delivery, up to the event; all deliveries to one subscription share it."""
    return b'{"type":"data","id":' + _encode(operation_id) + b',"event":'


def data_tail(event: str) -> bytes:
    """Return the last part of a delivery, the event; all deliveries of one event share it."""
    return _encode(event) + b"}"
