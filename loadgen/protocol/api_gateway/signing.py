"""SigV4 signatures, made by botocore, of requests to API Gateway (service `execute-api`)."""

from collections.abc import Mapping
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

from loadgen.protocol.appsync.sigv4 import IamSignature

SERVICE: Final = "execute-api"


def signed_headers(
    signature: IamSignature, method: str, host: str, resource: str, body: bytes = b""
) -> Mapping[str, str]:
    """Return the headers that sign a request, without `Host`, which the transport adds.

    ``resource`` is the path, percent-encoded, and the query. A handshake is a GET without a body.
    """
    request: Any = AWSRequest(method, f"https://{host}{resource}", data=body, headers={"host": host})
    SigV4Auth(signature.credentials(), SERVICE, signature.region).add_auth(request)
    return {name: value for name, value in request.headers.items() if name.lower() != "host"}
