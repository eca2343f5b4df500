"""The credentials of an MQTT client."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user name and password for the CONNECT packet; `repr` shows neither."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@runtime_checkable
class AwsKeys(Protocol):
    """AWS credentials that sign the WebSocket's upgrade, such as `appsync.sigv4.IamSignature`."""

    @property
    def credentials(self) -> Callable[[], Any]:
        """A function that returns an object with `access_key`, `secret_key` and `token`.

        It is called for each connection, because the credentials are renewed.
        """

    @property
    def region(self) -> str:
        """The AWS region."""


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Paths of PEM files with an X.509 certificate chain and its private key. The client logs in by TLS alone."""

    certificate: str
    key: str
