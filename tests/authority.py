"""Certificate authorities for tests: one that this process trusts only during a test, and one in files for servers."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme


class ServerFiles(NamedTuple):
    """The certificate and key of a server, and the certificate of the authority that issued it."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def options(self) -> list[str]:
        """The command-line options that make a server of `loadgen` use the certificate and the key."""
        return ["--certfile", str(self.certificate), "--keyfile", str(self.key)]


def server_files(folder: Path, host: str = "127.0.0.1") -> ServerFiles:
    """Write the certificate of a server at ``host``, and its authority, into a folder."""
    files = ServerFiles(folder / "cert.pem", folder / "key.pem", folder / "ca.pem")
    authority = trustme.CA()
    issued = authority.issue_cert(host)
    files.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.authority)
    return files


@contextmanager
def trusted(folder: Path) -> Iterator[ssl.SSLContext]:
    """Yield the TLS context of a server at 127.0.0.1; the authority's certificate is written into the folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        yield context
