"""The WebSocket login of AWS IoT Core by AWS keys: the upgrade's path and query, which botocore signs.

The query is signed for the service `iotdevicegateway` with `host` as its only signed header. Sources: the C SDK of
Espressif and browser clients in public repositories; not tested with an AWS account. These clients append the session
token after signing, so the signature does not cover it. Assumption: AWS expects this.
"""

from typing import Final
from urllib.parse import quote, urlsplit

from loadgen.protocol.mqtt.auth import AwsKeys

SERVICE: Final = "iotdevicegateway"
#: Validity of a signed query in seconds; each connection signs a new one.
_VALID_S: Final = 300


def signed_resource(keys: AwsKeys, connect_url: str) -> str:
    """Return the path and query with which to open a WebSocket at ``connect_url``; they are a secret."""
    # Imported here: only this login needs botocore.
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    found = keys.credentials()
    secure = connect_url.startswith("wss:")
    request = AWSRequest("GET", ("https" if secure else "http") + "://" + connect_url.partition("://")[2])
    unsaid = ReadOnlyCredentials(found.access_key, found.secret_key, None)
    SigV4QueryAuth(unsaid, SERVICE, keys.region, expires=_VALID_S).add_auth(request)
    parts = urlsplit(request.url)
    token = f"&X-Amz-Security-Token={quote(found.token, safe='')}" if found.token else ""
    return f"{parts.path}?{parts.query}{token}"
