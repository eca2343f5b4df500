"""`POST /event`: publish over HTTP."""

from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from loadgen.protocol.appsync import errors, messages
from loadgen.server.api import EventApi
from loadgen.server.auth.base import credentials_from
from loadgen.server.refusal import RefusedError

BODY_MAX_BYTES: Final = 4 * 1024 * 1024
"""A larger body is answered 413 unread (assumption). Above the payload limit: escaping lengthens events."""

_JSON: Final = "application/json"


class PublishEndpoint:
    """Turns HTTP requests into publishes and the outcome into a status and a body."""

    def __init__(self, api: EventApi) -> None:
        self._api = api

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer 200 with the outcome of each event, or an error for the whole request."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _refusal(RefusedError(errors.PAYLOAD_TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
        try:
            publish = messages.decode_publish_request(body)
        except msgspec.MsgspecError:
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
            )
        except RefusedError as refused:
            return _refusal(refused)
        return web.Response(body=messages.encode_http(response), content_type=_JSON)


def _refusal(refused: RefusedError) -> web.Response:
    """Return the error with its status: 400 and 403 (real), 401 (inf, undefined namespace too), others: assumptions."""
    error = refused.error
    return web.Response(
        status=refused.status,
        body=messages.encode_http(messages.ErrorResponse([error])),
        content_type=_JSON,
        # Amplify reads the name from here, so AWS presumably sends it (inf).
        headers={"x-amzn-ErrorType": error.error_type or "UnknownError"},
    )
