"""What a client logs in with."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class UserPassword:
    """A user's name and password, as they go into the CONNECT packet; never shown by `repr`."""

    username: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """Paths of an X.509 certificate chain and its key, PEM: the TLS connection is the login."""

    certificate: str
    key: str
