"""The endpoint `POST /event`: publish over HTTP."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from loadgen.protocol.appsync import errors, messages
from loadgen.protocol.unreadable import is_utf8
from loadgen.server.api import EventApi
from loadgen.server.auth.base import caller_of, credentials_from
from loadgen.server.bodies import Bodies, BodyError, BodyTooLargeError
from loadgen.server.cors import ANY_ORIGIN
from loadgen.server.refusal import RefusedError

_JSON: Final = "application/json"


class PublishEndpoint:
    """Turns an HTTP request into a publish, and its result into a status and a body."""

    def __init__(self, api: EventApi) -> None:
        self._api = api
        self._bodies = Bodies()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer a publish: 200 with the outcome of each event, or an error status for the whole request."""
        try:
            body = await self._bodies.read(request)
        except BodyTooLargeError:
            return _refusal(RefusedError(errors.PAYLOAD_TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
        except BodyError:
            return _refusal(RefusedError(errors.INVALID_BODY), close=True)
        try:
            publish = messages.decode_publish_request(body)
        except messages.UNREADABLE:
            return _refusal(RefusedError(errors.INVALID_BODY))
        if not is_utf8(body):
            # This check is needed because the decoder skips unknown keys with their values, and so misses invalid UTF-8
            # there.
            return _refusal(RefusedError(errors.INVALID_BODY))
        credentials = credentials_from(request.headers)
        try:
            response = await self._api.publish(
                credentials,
                publish.channel,
                publish.events,
                errors.TOO_MANY_EVENTS_HTTP,
                signed=body,
                headers=credentials,
                caller=caller_of(request.headers, request.remote, request.raw_path.partition("?")[2]),
            )
        except RefusedError as refused:
            return _refusal(refused)
        return web.Response(body=messages.encode_http(response), content_type=_JSON, headers=ANY_ORIGIN)


def _refusal(refused: RefusedError, *, close: bool = False) -> web.Response:
    """Return the response for a refusal.

    400 and 403 were seen on AWS. 401 (also for an undefined namespace) is inferred. Others are assumptions.
    """
    error = refused.error
    response = web.Response(
        status=refused.status,
        body=messages.encode_http(messages.ErrorResponse([error])),
        content_type=_JSON,
        # Amplify reads the error's name from `x-amzn-ErrorType`, so AWS presumably sends it (inferred).
        headers={**ANY_ORIGIN, "x-amzn-ErrorType": error.error_type or "UnknownError"},
    )
    if close:
        # Close the connection. If it stayed open, the rest of the body would be parsed as the next request.
        response.force_close()
    return response
