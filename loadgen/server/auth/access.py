"""Choose the authorizer of a request by the form of its credentials and by the modes that its operation allows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from loadgen.protocol.appsync.errors import UNAUTHORIZED
from loadgen.server.auth.base import AuthorizationRequest, Authorizer, Identity, Operation
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

#: Order in which authorizers are tried. IAM and JWT authorizers recognise their credentials by the form, while the
#: Lambda authorizer takes any token. So it comes after them.
_ORDER = [Mode.IAM, Mode.COGNITO, Mode.OIDC, Mode.LAMBDA, Mode.API_KEY]


@dataclass(frozen=True, slots=True)
class AllowedModes:
    """The authorization modes that each operation of an API allows.

    A namespace may set its own modes for publish and subscribe (AWS docs).
    """

    connect: Collection[Mode]
    publish: Collection[Mode]
    subscribe: Collection[Mode]

    def of(self, request: AuthorizationRequest) -> Collection[Mode]:
        """Return the modes that the request may use."""
        namespace = request.namespace
        if request.operation is Operation.CONNECT:
            return self.connect
        if request.operation is Operation.PUBLISH:
            override = namespace.publish_modes if namespace else None
            return self.publish if override is None else override
        override = namespace.subscribe_modes if namespace else None
        return self.subscribe if override is None else override


class AccessControl:
    """Passes each request to the authorizer of the API that recognises its credentials."""

    def __init__(self, authorizers: Sequence[Authorizer], allowed: AllowedModes) -> None:
        self._authorizers = sorted(authorizers, key=lambda authorizer: _ORDER.index(authorizer.mode))
        self._allowed = allowed

    async def authorize(self, request: AuthorizationRequest) -> Identity | None:
        """Return the identity of the requester, or None for an API key.

        Credentials of a mode that is configured but not allowed for the operation get 403 over HTTP (seen on AWS by
        the tests of auvred/aws-appsync-events). Bad or missing credentials get 401 (inferred).

        Raises:
            RefusedError: the request is not authorized.
        """
        for authorizer in self._authorizers:
            if authorizer.recognises(request.credentials):
                if authorizer.mode not in self._allowed.of(request):
                    raise RefusedError(UNAUTHORIZED, HTTPStatus.FORBIDDEN)
                return await authorizer.authorize(request)
        raise RefusedError(UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)
