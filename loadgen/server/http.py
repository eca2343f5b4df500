"""`POST /event`: publish over HTTP."""

from http import HTTPStatus
from typing import Final

from aiohttp import web

from loadgen.protocol.appsync import errors, messages
from loadgen.protocol.unreadable import is_utf8
from loadgen.server.api import EventApi
from loadgen.server.auth.base import credentials_from
from loadgen.server.bodies import Bodies, BodyError, BodyTooLargeError
from loadgen.server.refusal import RefusedError

_JSON: Final = "application/json"
#: A page of an application in development comes from another port; credentials are in headers, never in cookies.
_ANY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "x-amzn-ErrorType"}


class PublishEndpoint:
    """Turns HTTP requests into publishes and the outcome into a status and a body."""

    def __init__(self, api: EventApi) -> None:
        self._api = api
        self._bodies = Bodies()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer 200 with the outcome of each event, or an error for the whole request."""
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
            # Somewhere that the decoder passes over, such as an unknown member.
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
        return web.Response(body=messages.encode_http(response), content_type=_JSON, headers=_ANY_ORIGIN)

    async def preflight(self, request: web.Request) -> web.StreamResponse:
        """Answer a browser that asks whether a page from elsewhere may publish (assumption: AWS allows any origin)."""
        return web.Response(
            status=HTTPStatus.NO_CONTENT,
            headers={
                **_ANY_ORIGIN,
                "Access-Control-Allow-Methods": "POST, OPTIONS",
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
                "Access-Control-Max-Age": "600",
            },
        )


def _refusal(refused: RefusedError, *, close: bool = False) -> web.Response:
    """Return the error with its status: 400 and 403 (real), 401 (inf, undefined namespace too), others: assumptions."""
    error = refused.error
    response = web.Response(
        status=refused.status,
        body=messages.encode_http(messages.ErrorResponse([error])),
        content_type=_JSON,
        # Amplify reads the name from here, so AWS presumably sends it (inf).
        headers={**_ANY_ORIGIN, "x-amzn-ErrorType": error.error_type or "UnknownError"},
    )
    if close:
        # What is left of the body would be taken for the next request.
        response.force_close()
    return response
