"""Which authorizer decides: by what the credentials look like, and by which modes the operation allows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from loadgen.protocol.appsync.errors import UNAUTHORIZED
from loadgen.server.auth.base import AuthorizationRequest, Authorizer, Identity, Operation
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

#: Who is asked first: a signature is plain to see, a JWT can be read, and a Lambda authorizer takes any token.
_ORDER = [Mode.IAM, Mode.COGNITO, Mode.OIDC, Mode.LAMBDA, Mode.API_KEY]


@dataclass(frozen=True, slots=True)
class AllowedModes:
    """The API's modes for each operation; a namespace may override those of publish and subscribe (doc)."""

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
    """All authorizers of an API behind one question."""

    def __init__(self, authorizers: Sequence[Authorizer], allowed: AllowedModes) -> None:
        self._authorizers = sorted(authorizers, key=lambda authorizer: _ORDER.index(authorizer.mode))
        self._allowed = allowed

    async def authorize(self, request: AuthorizationRequest) -> Identity | None:
        """Return who asks.

        Credentials of a mode that is configured but not allowed here get 403 over HTTP (real AUVRED), bad or missing
        ones 401 (inf).

        Raises:
            RefusedError: they may not.
        """
        for authorizer in self._authorizers:
            if authorizer.recognises(request.credentials):
                if authorizer.mode not in self._allowed.of(request):
                    raise RefusedError(UNAUTHORIZED, HTTPStatus.FORBIDDEN)
                return await authorizer.authorize(request)
        raise RefusedError(UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)
