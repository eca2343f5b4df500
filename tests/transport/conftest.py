import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from loadgen.server.process import Announcement, ServerProcess
from tests.transport.kinds import inlet_kind

__all__ = ["inlet_kind"]


@pytest.fixture(scope="session")
def plain_server() -> Iterator[Announcement]:
    with ServerProcess() as server:
        yield server.announcement


@pytest.fixture(scope="session")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Announcement, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    options = ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]
    with ServerProcess(options) as server:
        yield server.announcement, folder / "ca.pem"


@pytest.fixture
def trusted(tls_server: tuple[Announcement, Path], monkeypatch: pytest.MonkeyPatch) -> Announcement:
    announcement, authority = tls_server
    assert ssl.get_default_verify_paths().openssl_cafile_env == "SSL_CERT_FILE"
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    return announcement
