"""A certificate authority for tests, which this process trusts only during a test."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme


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
