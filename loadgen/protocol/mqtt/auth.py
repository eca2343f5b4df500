"""The credentials of an MQTT client."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user name and password for the CONNECT packet; `repr` shows neither."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Paths of an X.509 certificate chain and its private key, PEM; the TLS connection is the login."""

    certificate: str
    key: str
