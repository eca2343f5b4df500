"""IAM authorization of a client by SigV4 signatures, which botocore makes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from loadgen.protocol.appsync.auth import CONNECT_BODY
from loadgen.protocol.appsync.endpoints import HTTP_PATH

SERVICE: Final = "appsync"

#: The headers that AWS's own clients sign in a connect, a subscribe and a publish frame
#: (seen on AWS; see docs/reference/appsync-events.md, section 4).
_FRAME_HEADERS: Final = {
    "accept": "application/json, text/javascript",
    "content-encoding": "amz-1.0",
    "content-type": "application/json; charset=UTF-8",
}
#: Headers to sign over HTTP: only those that the request contains anyway.
_HTTP_HEADERS: Final = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class IamSignature:
    """Signs each request; `credentials` is called every time, as temporary credentials are renewed.

    A signature covers a path: ``path`` for publishes and subscribes, ``connect_path`` for connects.
    """

    credentials: Callable[[], ReadOnlyCredentials] = field(repr=False)
    region: str
    path: str = HTTP_PATH
    connect_path: str = HTTP_PATH

    def headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return the headers of a signed `POST` with ``body``, without `Host`, which the HTTP client adds."""
        signed = self._sign(http_host, body, _HTTP_HEADERS, self.path)
        del signed["host"]
        return signed

    def connect_headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return the headers for the `header-` subprotocol of a connect, signed as in amplify-js issue #14001."""
        return self._sign(http_host, body, _FRAME_HEADERS, self.connect_path)

    def frame_authorization(self, http_host: str, body: bytes | str) -> dict[str, str]:
        """Return the `authorization` of a frame whose signed body is `body`."""
        return self._sign(http_host, body, _FRAME_HEADERS, self.path)

    def _sign(self, http_host: str, body: bytes | str, headers: dict[str, str], path: str) -> dict[str, str]:
        request: Any = AWSRequest(
            "POST", f"https://{http_host}{path}", data=body, headers={**headers, "host": http_host}
        )
        SigV4Auth(self.credentials(), SERVICE, self.region).add_auth(request)
        return {
            # AWS documents `x-amz-date` in lower case, and the other headers in the case in which botocore writes them.
            ("x-amz-date" if name == "X-Amz-Date" else name): value
            for name, value in request.headers.items()
        }
