"""Test that importing aiohttp in a server loads no certificate authorities, but that later TLS contexts do."""

import ssl

from loadgen.server.loading import without_authorities


def made() -> int:
    """Return how many certificate authorities a new TLS context trusts."""
    context = ssl.create_default_context()
    return context.cert_store_stats()["x509_ca"]


def test_a_context_made_meanwhile_trusts_nobody_and_later_ones_are_as_ever() -> None:
    own = {name: getattr(ssl.SSLContext, name) for name in ("load_default_certs", "set_default_verify_paths")}
    before = made()
    with without_authorities():
        context = ssl.create_default_context()
        assert context.cert_store_stats()["x509_ca"] == 0
        # The context trusts no authority, but demands a valid certificate: every connection with it would fail.
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
    assert {name: getattr(ssl.SSLContext, name) for name in own} == own
    assert made() == before


def test_they_are_as_ever_after_an_error_too() -> None:
    own = ssl.SSLContext.load_default_certs
    try:
        with without_authorities():
            raise ImportError
    except ImportError:
        pass
    assert ssl.SSLContext.load_default_certs is own
