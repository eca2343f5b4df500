"""Test that TLS by OpenSSL's functions gives the same plaintext, times and errors as Python's `ssl`."""

import contextlib
import datetime
import re
import ssl
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen import native
from loadgen.protocol.base import TlsOptions
from loadgen.transport.native_tls import NativeTls, error_of, native_context, why_not
from loadgen.transport.tls import Session, Tls, TlsSessions
from tests.authority import trusted
from tests.tls_server import Server, shake_hands

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

ARRIVAL, READ, WITHIN, END = 1_000, 1_001, 50, 7
HOST = "127.0.0.1"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
KINDS = ("native", "python")

AnyTls = Tls | NativeTls


def begin(
    kind: str, context: ssl.SSLContext, host: str = HOST, session: Session | None = None,
    options: TlsOptions | None = None,
) -> AnyTls:  # fmt: skip
    if kind == "python":
        assert session is None or isinstance(session, ssl.SSLSession)
        return Tls(context, host, session)
    ours = native_context(context, options or TlsOptions())
    assert ours is not None
    return NativeTls(ours, host, session)


def connected(kind: str, served: ssl.SSLContext, version: ssl.TLSVersion) -> tuple[AnyTls, Server]:
    context = ssl.create_default_context()
    context.maximum_version = version
    client, server = begin(kind, context), Server(served)
    shake_hands(client, server)
    # In TLS 1.3 the server now sends session tickets.
    client.decrypt(b"", lambda *_: None, 0, 0, 0, 0)
    return client, server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    with trusted(tmp_path_factory.mktemp("authority")) as context:
        yield context


def decrypted(client: AnyTls, data: bytes) -> tuple[bytes, int | None, bool]:
    """Return the plaintext of a read, the `end_ns` of its last part, and True if TLS stays on for further reads."""
    parts: list[tuple[bytes, int]] = []

    def take(part: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        assert (arrival_ns, read_ns, within_ns) == (ARRIVAL, READ, WITHIN)
        parts.append((bytes(part), end_ns))

    goes_on = client.decrypt(data, take, ARRIVAL, READ, WITHIN, END)
    assert all(end_ns == WITHIN for _, end_ns in parts[:-1])
    return b"".join(part for part, _ in parts), parts[-1][1] if parts else None, goes_on


def words(error: ssl.SSLError) -> str:
    return re.sub(r" \(_ssl\.c:\d+\)", "", str(error))


def same_error(action: Callable[[str], object]) -> ssl.SSLError:
    """Call ``action`` with native and with Python's TLS; assert that both fail alike, and return the native error."""
    seen: list[ssl.SSLError] = []
    for kind in KINDS:
        with pytest.raises(ssl.SSLError) as raised:
            action(kind)
        seen.append(raised.value)
    ours, python = seen
    assert type(ours) is type(python)
    assert words(ours) == words(python)
    assert (ours.library, ours.reason, ours.errno) == (python.library, python.reason, python.errno)
    if isinstance(ours, ssl.SSLCertVerificationError) and isinstance(python, ssl.SSLCertVerificationError):
        assert (ours.verify_code, ours.verify_message) == (python.verify_code, python.verify_message)
    return ours


def test_openssl_is_found_where_python_has_it() -> None:
    assert (why_not() is None) is (ssl.OPENSSL_VERSION_INFO[0] == 3)


@pytest.mark.parametrize("path", [None, "/nowhere/libssl.so", __file__])
def test_what_is_found_once_is_not_searched_again(path: str | None) -> None:
    assert why_not() is None
    assert native.load_tls(path) is None


# The following tests are about received data.

RECORDS = st.lists(
    st.one_of(st.binary(min_size=1, max_size=40), st.integers(200, 40_000).map(lambda size: b"x" * size)),
    max_size=5,
)


@pytest.mark.parametrize("version", VERSIONS)
@given(records=RECORDS, cuts=st.lists(st.integers(0, 1 << 17), max_size=6), closed=st.booleans())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_reads_give_the_same_plaintext_and_times(
    served: ssl.SSLContext, version: ssl.TLSVersion, records: list[bytes], cuts: list[int], closed: bool
) -> None:
    seen = []
    for kind in KINDS:
        client, server = connected(kind, served, version)
        stream = b"".join(map(server.record, records)) + (server.close() if closed else b"")
        reads = []
        for read in cut(stream, cuts):
            reads.append(decrypted(client, read))
            if not reads[-1][2]:
                break
        seen.append(reads)
        assert b"".join(plaintext for plaintext, _, _ in reads) == b"".join(records)
    assert seen[0] == seen[1]


def cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({place % (len(stream) + 1) for place in cuts} | {0, len(stream)})
    return [stream[begin:end] for begin, end in pairwise(places)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_stream_may_be_cut_at_every_byte(served: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    for kind in KINDS:
        client, server = connected(kind, served, version)
        stream = server.record(b"one") + server.record(b"two")
        first = len(stream) // 2
        for place in range(1, len(stream)):
            early, late = decrypted(client, stream[:place]), decrypted(client, stream[place:])
            both = place >= first
            assert early == (
                b"one" if both else b"",
                (END if place == first else WITHIN) if both else None,
                True,
            )
            assert late == (b"two" if both else b"onetwo", END, True)
            stream = server.record(b"one") + server.record(b"two")
        for byte in stream[:-1]:
            decrypted(client, bytes([byte]))
        assert decrypted(client, stream[-1:]) == (b"two", END, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_follows_the_end_of_the_handshake_in_one_read_is_plaintext(
    served: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    for kind in KINDS:
        context = ssl.create_default_context()
        context.maximum_version = version
        client, server = begin(kind, context), Server(served)
        client.handshake()
        said = b""
        while not client.ready:
            server.incoming.write(client.to_send())
            with contextlib.suppress(ssl.SSLWantReadError):
                server.tls.do_handshake()
                # In TLS 1.2 the server completes the handshake, and may send data at once.
                server.tls.write(b"at once")
            if said := server.outgoing.read():
                client.handshake(said)
        if version is ssl.TLSVersion.TLSv1_2:
            assert decrypted(client, b"")[0] == b"at once"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_of_tls_is_told_after_the_data_and_again(
    served: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    for kind in KINDS:
        client, server = connected(kind, served, version)
        assert decrypted(client, server.record(b"last") + server.close()) == (b"last", WITHIN, False)
        assert decrypted(client, b"more")[0::2] == (b"", False)


@pytest.mark.parametrize(
    "garbage", [b"\x17\x03\x03\x00\x13" + b"n" * 19, b"HTTP/1.1 400 Bad Request\r\n\r\n"]
)
@pytest.mark.parametrize("version", VERSIONS)
def test_garbage_after_data_is_an_error_after_the_data(
    served: ssl.SSLContext, version: ssl.TLSVersion, garbage: bytes
) -> None:
    taken: dict[str, bytes] = {}

    def receive(kind: str) -> None:
        client, server = connected(kind, served, version)
        client.decrypt(
            server.record(b"good") + garbage, lambda part, *_: taken.update({kind: bytes(part)}), 0, 0, 0, 0
        )

    same_error(receive)
    assert taken == dict.fromkeys(KINDS, b"good")


@pytest.mark.parametrize("version", VERSIONS)
def test_an_alert_of_the_server_is_an_error(served: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    def receive(kind: str) -> None:
        client, server = connected(kind, served, version)
        server.incoming.write(b"\x17\x03\x03\x00\x20" + b"n" * 32)
        with pytest.raises(ssl.SSLError):
            server.tls.read()
        decrypted(client, server.outgoing.read())

    assert "ALERT" in str(same_error(receive).reason)


# What is sent.


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 1 << 20])
def test_what_is_encrypted_the_server_reads(served: ssl.SSLContext, size: int) -> None:
    client, server = connected("native", served, ssl.TLSVersion.TLSv1_3)
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    server.incoming.write(client.encrypt(message))
    got = b""
    while len(got) < size:
        got += server.tls.read(1 << 16)
    assert got == message
    assert client.to_send() == b""


def test_an_orderly_end_tells_the_server(served: ssl.SSLContext) -> None:
    client, server = connected("native", served, ssl.TLSVersion.TLSv1_3)
    client.end()
    server.incoming.write(client.to_send())
    assert server.tls.read() == b""


# Resumption.


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed_more_than_once_even_after_a_connection_broke_off(
    served: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    now_s = 1_000.0
    sessions = TlsSessions(lambda: now_s)
    context = ssl.create_default_context()
    context.maximum_version = version
    ours = native_context(context, TlsOptions())
    assert ours is not None

    def resumed() -> bool:
        client, server = NativeTls(ours, HOST, sessions.session), Server(served)
        shake_hands(client, server)
        assert decrypted(client, server.record(b"hello"))[0] == b"hello"
        assert server.tls.session_reused is client.resumed
        sessions.keep(client)
        return client.resumed

    assert not resumed()
    first = sessions.session
    assert first is not None
    assert [resumed() for _ in range(3)] == [True] * 3
    assert sessions.resumed == 3
    assert sessions.session is first
    now_s += 61
    assert resumed()
    assert sessions.session is not first
    assert resumed()


def test_there_is_no_session_before_the_server_has_given_one() -> None:
    assert begin("native", ssl.create_default_context()).session() is None


def test_what_is_no_session_is_refused() -> None:
    ours = native_context(ssl.create_default_context(), TlsOptions())
    assert ours is not None
    with pytest.raises(ValueError, match="PyCapsule"):
        NativeTls(ours, HOST, object())


# Who is trusted.


def refused(context: ssl.SSLContext, host: str = HOST) -> ssl.SSLError:
    def connect(kind: str) -> None:
        shake_hands(begin(kind, ssl.create_default_context(), host), Server(context))

    return same_error(connect)


def serving(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Make a certificate authority that this process trusts."""
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return issuer


NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("names", "host", "word"),
    [
        (
            ["other.example"],
            "right.example",
            "Hostname mismatch, certificate is not valid for 'right.example'.",
        ),
        (["10.0.0.1"], HOST, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (["right.example"], HOST, "IP address mismatch, certificate is not valid for '127.0.0.1'."),
        (["127.0.0.1"], "right.example", "Hostname mismatch, certificate is not valid for 'right.example'."),
        (
            ["*.example"],
            "a.right.example",
            "Hostname mismatch, certificate is not valid for 'a.right.example'.",
        ),
        (["::1"], "::2", "IP address mismatch, certificate is not valid for '::2'."),
    ],
)
def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, names: list[str], host: str, word: str
) -> None:
    error = refused(serving(authority.issue_cert(*names)), host)
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_message == word


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (["right.example"], "right.example"),
        (["*.right.example"], "a.right.example"),
        (["127.0.0.1"], HOST),
        (["::1"], "::1"),
    ],
)
def test_a_certificate_for_the_name_is_accepted(authority: trustme.CA, names: list[str], host: str) -> None:
    for kind in KINDS:
        context = serving(authority.issue_cert(*names))
        shake_hands(begin(kind, ssl.create_default_context(), host), Server(context))


@pytest.mark.parametrize(
    ("since", "until", "word"),
    [
        (NOW - 9 * DAY, NOW - DAY, "certificate has expired"),
        (NOW + DAY, NOW + 9 * DAY, "certificate is not yet valid"),
    ],
)
def test_a_certificate_is_refused_outside_its_time(
    authority: trustme.CA, since: datetime.datetime, until: datetime.datetime, word: str
) -> None:
    error = refused(serving(authority.issue_cert(HOST, not_before=since, not_after=until)))
    assert isinstance(error, ssl.SSLCertVerificationError)
    assert error.verify_message == word


def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    error = refused(serving(trustme.CA().issue_cert(HOST)))
    assert str(error) == (
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate"
    )


def test_a_self_signed_certificate_is_refused(authority: trustme.CA, tmp_path: Path) -> None:
    own = trustme.CA()
    own.private_key_pem.write_to_path(tmp_path / "self.pem")
    own.cert_pem.write_to_path(tmp_path / "self.pem", append=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "self.pem")
    assert "self-signed certificate" in str(refused(context))


def test_a_server_with_an_old_version_is_refused(authority: trustme.CA) -> None:
    context = serving(authority.issue_cert(HOST))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    def connect(kind: str) -> None:
        client, server = begin(kind, ssl.create_default_context()), Server(context)
        client.handshake()
        server.incoming.write(client.to_send())
        with contextlib.suppress(ssl.SSLError):
            server.tls.do_handshake()
        client.handshake(server.outgoing.read())

    assert "PROTOCOL" in str(same_error(connect).reason)


def test_what_is_not_tls_is_told(authority: trustme.CA) -> None:
    def connect(kind: str) -> None:
        client = begin(kind, ssl.create_default_context())
        client.handshake()
        client.handshake(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert str(same_error(connect)) == "[SSL: WRONG_VERSION_NUMBER] wrong version number"


def test_a_server_that_demands_a_certificate_gets_the_one_that_is_set(
    authority: trustme.CA, tmp_path: Path
) -> None:
    certificate = authority.issue_cert("client.example")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = serving(authority.issue_cert(HOST))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    options = TlsOptions(certificate=str(tmp_path / "client.pem"), alpn=("mqtt", "x"))
    context.set_alpn_protocols(["mqtt"])
    client, server = begin("native", ssl.create_default_context(), options=options), Server(context)
    shake_hands(client, server)
    assert server.tls.getpeercert()
    assert server.tls.selected_alpn_protocol() == "mqtt"


# The following tests are about cases in which Python's own TLS objects are used.


def test_an_encrypted_key_is_left_to_python_which_asks_for_its_password(
    authority: trustme.CA, tmp_path: Path
) -> None:
    from cryptography.hazmat.primitives import serialization as of

    key = authority.issue_cert("client.example").private_key_pem.bytes()
    sealed = of.load_pem_private_key(key, None).private_bytes(
        of.Encoding.PEM, of.PrivateFormat.PKCS8, of.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "key.pem").write_bytes(sealed)
    authority.cert_pem.write_to_path(tmp_path / "cert.pem")
    options = TlsOptions(certificate=str(tmp_path / "cert.pem"), key=str(tmp_path / "key.pem"))
    assert native_context(ssl.create_default_context(), options) is None


def test_other_ways_to_verify_are_left_to_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(ssl.SSLContext):
        """Stands in for a context of a library that verifies certificates in its own way, such as with the system's."""

    assert native_context(Other(ssl.PROTOCOL_TLS_CLIENT), TlsOptions()) is None
    context = ssl.create_default_context()
    context.check_hostname = False
    assert native_context(context, TlsOptions()) is None
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert native_context(ssl.create_default_context(), TlsOptions()) is None


@pytest.mark.parametrize("host", ["", ".example", "a\0b", "x" * 300])
def test_a_name_that_no_server_has_is_refused(host: str) -> None:
    ours = native_context(ssl.create_default_context(), TlsOptions())
    assert ours is not None
    with pytest.raises(ValueError, match=r"host name|null"):
        NativeTls(ours, host)


def test_a_setting_that_openssl_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="OpenSSL refuses the ciphers"):
        native.TlsContext(
            error_of, options=0, minimum=0, maximum=0, level=2, flags=0, host_flags=0, ciphers="none such", suites="",
            alpn=b"", certificate=None, key=None,
        )  # fmt: skip
