"""Messages of both directions, in the dialect of `graphql-ws` that AppSync speaks.

The dialect is the protocol of subscriptions-transport-ws, with a `start_ack` and an authorization in each `start`
(sources: amplify-js and a recorded session). `payload.data` of a `start` is a text of JSON, and not an object.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.refusals import Refusal
from loadgen.protocol.unreadable import cut

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The exceptions of the decoders for a message that is not JSON, has another form, is not UTF-8, or is nested about a
thousand levels deep."""

SUBPROTOCOL: Final = "graphql-ws"
#: Value of `payload` in the query of the WebSocket URL, where `header` is the other parameter: base64 of `{}`.
EMPTY_PAYLOAD: Final = "e30="
_MOST_ERRORS: Final = 5
_encode = msgspec.json.Encoder().encode

# --- client to server ---

CONNECTION_INIT: Final = b'{"type":"connection_init"}'
"""Asks for `connection_ack`; a newer AWS guide calls sending this message optional."""


def start(operation_id: str, data: str, authorization: Mapping[str, str]) -> bytes:
    """Return the message that subscribes; ``data`` is the text of `Operations.start_data`."""
    payload = {"data": data, "extensions": {"authorization": authorization}}
    return _encode({"id": operation_id, "type": "start", "payload": payload})


def stop(operation_id: str) -> bytes:
    """Return the message that ends a subscription."""
    return _encode({"id": operation_id, "type": "stop"})


def header_query(headers: Mapping[str, str]) -> str:
    """Return the value of the query's `header`: base64 of the headers' JSON, which the caller must percent-encode."""
    return base64.b64encode(_encode(headers)).decode()


# --- server to client ---


class ServerMessage(msgspec.Struct, frozen=True, gc=False):
    """Any message of the server; ``payload`` is decoded by its type."""

    type: str
    id: str | None = None
    payload: Any = None

    @property
    def errors(self) -> list[WireError]:
        """The errors in the payload; see `errors_of`."""
        return errors_of(self.payload)

    def describe_errors(self) -> str:
        """Return the errors in one line, for a log or a record."""
        return describe(self.errors) or f"{self.type} without errors"

    def refusal(self) -> Refusal:
        """Return the refusal that the errors mean."""
        return refusal_of(self.errors)


decode: Final = msgspec.json.Decoder(ServerMessage).decode
"""Decodes a message of the server; raises one of `UNREADABLE` for anything else."""

decode_body: Final = msgspec.json.Decoder(dict[str, Any]).decode
"""Decodes the answer to a mutation; raises one of `UNREADABLE` if it is not a JSON object."""


def errors_of(holder: Any) -> list[WireError]:
    """Return the errors in the `errors` member of a payload or an answer.

    `errors` may be a list or a single object (source: the code of existing clients). Members of the wrong type count as
    missing. A text in place of an error object is taken as the error's message.
    """
    errors = holder.get("errors") if isinstance(holder, dict) else None
    if errors is None or errors == []:
        return []
    found = errors if isinstance(errors, list) else [errors]
    return [_error(each) for each in found[:_MOST_ERRORS]]


def _error(written: Any) -> WireError:
    if not isinstance(written, dict):
        return WireError(message=written if isinstance(written, str) else None)
    kind, message, code = (written.get(name) for name in ("errorType", "message", "errorCode"))
    return WireError(
        kind if isinstance(kind, str) else None,
        message if isinstance(message, str) else None,
        code if isinstance(code, int | str) and not isinstance(code, bool) else None,
    )


def describe(errors: Sequence[WireError]) -> str:
    """Return errors in one line; empty if there are none. An error without a type is shown by its message alone."""
    return cut("; ".join(str(each) if each.error_type else each.message or str(each) for each in errors))


def refusal_of(errors: Sequence[WireError], status: int | None = None) -> Refusal:
    """Classify errors by type; if no type is known, by the first code; if there is no code, by the HTTP status.

    Some errors have their type as the message (`NoProtocolError`).
    """
    codes = [error.error_code for error in errors if isinstance(error.error_code, int)]
    types = [each for error in errors for each in (error.error_type, error.message)]
    return Refusal.of(codes[0] if codes else status, types)
