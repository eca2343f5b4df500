"""Test decryption in the receive thread: each byte is processed exactly once, whatever Python does at the same time."""

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import cast

import pytest
import trustme

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.protocol.base import TlsOptions
from loadgen.transport import kernel_time
from loadgen.transport import poller as pollers
from loadgen.transport.native_tls import NativeTls, native_context
from tests.authority import trusted
from tests.listening import connected
from tests.native.test_pollers import delivery as sized
from tests.native.test_pollers import frame, receive
from tests.native.test_thread import ROOT, add, delivery, process_until, rows_of
from tests.tls_server import SocketServer

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Opened:
    """A source that keeps the decrypted data it is given."""

    whole: Callable[..., None] | None = None

    def __init__(self, tls: NativeTls, sock: socket.socket) -> None:
        self.tls, self.socket = tls, sock
        self.plain = bytearray()
        self.texts: list[bytes] = []
        self.times: list[tuple[int, int, int, int]] = []
        self.errors: list[BaseException] = []
        self.ends = 0

    def take(self, data: bytes, *_: int) -> None:
        assert data == b"", "ciphertext"
        self.ends += 1

    def take_plaintext(self, data: bytes, *times: int) -> None:
        self.plain += data
        self.ends += not data
        self.times.append(cast("tuple[int, int, int, int]", times))

    def tls_wrote(self) -> None:
        self.socket.sendall(self.tls.to_send())

    def tls_stopped(self, error: BaseException, *_: int) -> None:
        self.errors.append(error)

    def broke(self, error: BaseException) -> None:
        self.errors.append(error)

    failed = broke


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    with trusted(tmp_path_factory.mktemp("authority")) as context:
        yield context


def shake_hands(tls: NativeTls, server: SocketServer) -> None:
    tls.handshake()
    while not tls.ready:
        server.incoming.write(tls.to_send())
        with contextlib.suppress(ssl.SSLWantReadError):
            server.tls.do_handshake()
        tls.handshake(server.outgoing.read())
    server.incoming.write(tls.to_send())
    with contextlib.suppress(ssl.SSLWantReadError):
        server.tls.do_handshake()
    # In TLS 1.3 the server sends session tickets after the handshake. They are input without plaintext.
    assert tls.open(server.outgoing.read()) == (b"", False, False, None)


@contextlib.contextmanager
def opened(
    served: ssl.SSLContext, poller: native.Poller, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> Iterator[tuple[Opened, SocketServer]]:
    settings = ssl.create_default_context()
    settings.maximum_version = version
    context = native_context(settings, TlsOptions())
    assert context is not None
    with connected() as (ours, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kernel_time.enable(ours)
        tls, server = NativeTls(context, "127.0.0.1"), SocketServer(served, peer)
        shake_hands(tls, server)
        source = Opened(tls, ours)
        add(poller, ours, source)
        poller.route(ours.fileno(), None, None, tls)
        yield source, server
        with contextlib.suppress(KeyError):
            poller.remove(ours.fileno())


def new_poller() -> native.Poller:
    return native.Poller(lambda source, error: cast("Opened", source).failed(error))


def fast(number: int = 5) -> tuple[native.Rows, native.DeliveryFastPath]:
    rows = native.Rows(9, 10_000)
    path = native.DeliveryFastPath(rows)
    path.add("s1", number)
    return rows, path


@pytest.mark.parametrize("version", VERSIONS)
def test_the_thread_decrypts_while_python_does_nothing(
    served: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    poller, (rows, path) = new_poller(), fast()
    with opened(served, poller, version) as (source, server):
        poller.route(source.socket.fileno(), None, path, source.tls)
        # Send a record per read, several records per read, a record of many frames, and a record cut by a
        # read.
        for sequence in range(5):
            server.socket.sendall(server.record(delivery(sequence)))
            time.sleep(0.005)
        server.socket.sendall(b"".join(server.record(delivery(sequence)) for sequence in range(5, 9)))
        server.socket.sendall(server.record(b"".join(map(delivery, range(9, 200)))))
        both = server.record(delivery(200)) + server.record(delivery(201))
        server.socket.sendall(both[:-5])
        time.sleep(0.005)
        server.socket.sendall(both[-5:])
        written: list[list[int]] = []
        deadline = time.monotonic() + 30
        while len(written) < 202:
            written += rows_of(rows)
            assert time.monotonic() < deadline
        assert [row[6] for row in written] == list(range(202))
        assert poller.waiting(source.socket.fileno()) == 0
        assert not source.plain


def test_what_no_fast_path_takes_comes_in_order_with_its_times(served: ssl.SSLContext) -> None:
    poller, (rows, path) = new_poller(), fast()
    since_ns = now_ns()
    with opened(served, poller) as (source, server):
        poller.route(source.socket.fileno(), None, path, source.tls)
        server.socket.sendall(
            server.record(delivery(1)) + server.record(b"other") + server.record(delivery(2))
        )
        time.sleep(0.01)
        # Python has not processed the first data yet, so the receive thread must leave this data to Python too.
        server.socket.sendall(server.record(b"more"))
        wanted = b"other" + delivery(2) + b"more"
        process_until(poller, lambda: bytes(source.plain) == wanted)
        assert [row[6] for row in rows_of(rows)] == [1]
        for arrival_ns, read_ns, within_ns, end_ns in source.times:
            assert since_ns - 1_000_000 <= arrival_ns - within_ns <= arrival_ns <= read_ns
            assert 0 <= end_ns <= within_ns
        assert poller.waiting(source.socket.fileno()) == 0
        # Python has processed everything that it was given, so the fast path (in C) takes data again.
        server.socket.sendall(server.record(delivery(3)))
        written: list[list[int]] = []
        while not written:
            written = rows_of(rows)
        assert written[0][6] == 3


def test_a_whole_text_goes_to_its_callback(served: ssl.SSLContext) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, server):
        poller.route(source.socket.fileno(), lambda text, *_: source.texts.append(text), None, source.tls)
        sent = 0
        # On a busy machine the arrival time may be inexact. The poller then hands over bytes with times instead of a
        # text, so send again until a text has come.
        while not source.texts and sent < 1_000:
            sent += 1
            server.socket.sendall(server.record(b"\x81\x05hello"))
            process_until(poller, lambda: len(source.texts) + len(source.times) == sent)  # noqa: B023  called here
        assert source.texts == [b"hello"]
        assert bytes(source.plain) == b"\x81\x05hello" * (sent - 1)


class Framed(Opened):
    """Processes incomplete frames in Python, as `WebSocket` does, and lets the fast path take data after each frame."""

    def __init__(
        self, tls: NativeTls, sock: socket.socket, poller: native.Poller, path: native.FastPath
    ) -> None:
        super().__init__(tls, sock)
        self.poller, self.path = poller, path
        self.frames: list[bytes] = []
        self.rest = b""

    def take_plaintext(self, data: bytes, *times: int) -> None:
        super().take_plaintext(data, *times)
        rest = self.rest + data
        while len(rest) >= 4 and len(rest) >= 4 + int.from_bytes(rest[2:4], "big"):
            size = 4 + int.from_bytes(rest[2:4], "big")
            self.frames.append(rest[:size])
            rest = rest[size:]
        self.rest = rest
        self.poller.route(self.socket.fileno(), None, None if rest else self.path, self.tls)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(8))
def test_frames_records_and_reads_end_anywhere(
    served: ssl.SSLContext, version: ssl.TLSVersion, seed: int
) -> None:
    random = Random(seed)
    poller, (rows, path) = new_poller(), fast()
    # Each frame has a two-byte length. The fast path declines about 5 % of the frames, which are not deliveries.
    odd = {number for number in range(300) if random.random() < 0.05}
    sent = [frame(b"%d " % n + b"?" * 200) if n in odd else delivery(n) for n in range(300)]
    assert all(each[1] == 126 for each in sent)
    stream = b"".join(sent)
    beginning = delivery(300)[: random.randrange(1, 100)]
    with opened(served, poller, version) as (source, server):
        framed = Framed(source.tls, source.socket, poller, path)
        poller.remove(source.socket.fileno())
        add(poller, source.socket, framed)
        poller.route(source.socket.fileno(), None, path, source.tls)
        ciphertext = b""
        plaintext = stream + beginning
        while plaintext:
            size = random.choice((1, 50, 250, 300, 3_000, 16_384))
            ciphertext += server.record(plaintext[:size])
            plaintext = plaintext[size:]
        ciphertext += server.close()
        found: list[int] = []
        while ciphertext:
            size = random.choice((1, 30, 300, 300, 5_000, 60_000))
            server.socket.sendall(ciphertext[:size])
            ciphertext = ciphertext[size:]
            time.sleep(random.choice((0, 0.0002, 0.002)))
            if random.random() < 0.5:
                poller.process(random.randrange(3))
        process_until(poller, lambda: framed.ends)
        found = [row[6] for row in rows_of(rows)]
    assert not framed.errors
    assert framed.rest == beginning
    by_python = [n for n in range(300) if sent[n] in framed.frames]
    # Each frame went through exactly one of fast path and Python, and neither changed the order.
    assert sorted(found + by_python) == list(range(300))
    assert found == sorted(found)
    assert framed.frames == [sent[n] for n in by_python]
    assert odd <= set(by_python)


def test_many_records_wait_for_python_and_are_then_decrypted_in_order(served: ssl.SSLContext) -> None:
    poller, (rows, path) = new_poller(), fast()
    with opened(served, poller) as (source, server):
        poller.route(source.socket.fileno(), None, path, source.tls)
        for sequence in range(50):
            server.socket.sendall(server.record(b"x" if sequence == 0 else delivery(sequence)))
        server.socket.sendall(server.record(b"\xff" * 200_000))
        process_until(poller, lambda: source.plain.count(b"\xff") == 200_000)
        assert bytes(source.plain[:1]) == b"x"
        found = [row[6] for row in rows_of(rows)]
        left = [int(number) for number in re.findall(rb'_lg\\":\[7,1,(\d+),', bytes(source.plain))]
        assert sorted(found + left) == list(range(1, 50))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_end_of_tls_is_told_once_after_the_data(served: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    poller = new_poller()
    with opened(served, poller, version) as (source, server):
        server.socket.sendall(server.record(b"last") + server.close() + b"rest")
        server.socket.shutdown(socket.SHUT_WR)
        process_until(poller, lambda: source.ends)
        time.sleep(0.01)
        poller.process(100)
        assert (bytes(source.plain), source.ends, source.errors) == (b"last", 1, [])


def test_a_connection_that_breaks_off_within_a_record_has_ended(served: ssl.SSLContext) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, server):
        server.socket.sendall(server.record(b"whole") + server.record(b"cut")[:-1])
        server.socket.shutdown(socket.SHUT_WR)
        process_until(poller, lambda: source.ends)
        assert (bytes(source.plain), source.ends, source.errors) == (b"whole", 1, [])


@pytest.mark.parametrize("waits", [False, True])
def test_garbage_ends_only_its_own_source_after_the_data(served: ssl.SSLContext, waits: bool) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, server), opened(served, poller) as (other, other_server):
        if waits:
            server.socket.sendall(server.record(b"first "))
            time.sleep(0.02)
        server.socket.sendall(server.record(b"good") + b"\x17\x03\x03\x00\x13" + b"n" * 19)
        process_until(poller, lambda: source.errors)
        assert bytes(source.plain) == (b"first good" if waits else b"good")
        (error,) = source.errors
        assert isinstance(error, ssl.SSLError)
        assert "bad record mac" in str(error)
        other_server.socket.sendall(other_server.record(b"well"))
        process_until(poller, lambda: bytes(other.plain) == b"well")
        assert not other.errors


def test_an_alert_is_the_error(served: ssl.SSLContext) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, server):
        server.incoming.write(b"\x17\x03\x03\x00\x20" + b"n" * 32)
        with pytest.raises(ssl.SSLError):
            server.tls.read()
        server.socket.sendall(server.outgoing.read())
        process_until(poller, lambda: source.errors)
        assert "ALERT" in str(source.errors[0])


def test_python_encrypts_while_the_thread_decrypts(served: ssl.SSLContext) -> None:
    poller, (rows, path) = new_poller(), fast()
    count, got = 400, bytearray()
    with opened(served, poller) as (source, server):
        poller.route(source.socket.fileno(), None, path, source.tls)
        wire = [server.record(delivery(sequence)) for sequence in range(count)]

        def send() -> None:
            for part in wire:
                server.socket.sendall(part)

        def read() -> None:
            while len(got) < count * 1000:
                data = server.read()
                assert data
                got.extend(data)

        threads = [threading.Thread(target=send), threading.Thread(target=read)]
        for thread in threads:
            thread.start()
        source.socket.setblocking(True)
        for number in range(count):
            source.socket.sendall(source.tls.encrypt(bytes([number % 256]) * 1000))
        for thread in threads:
            thread.join()
        written: list[list[int]] = []
        deadline = time.monotonic() + 30
        while len(written) < count:
            written += rows_of(rows)
            assert time.monotonic() < deadline
        assert bytes(got) == b"".join(bytes([number % 256]) * 1000 for number in range(count))
        assert [row[6] for row in written] == list(range(count))


def test_a_socket_may_be_removed_while_the_thread_decrypts(served: ssl.SSLContext) -> None:
    poller, (rows, path) = new_poller(), fast()
    for _ in range(10):
        with opened(served, poller) as (source, server):
            poller.route(source.socket.fileno(), None, path, source.tls)
            wire = b"".join(server.record(delivery(sequence)) for sequence in range(300))
            sender = threading.Thread(target=server.socket.sendall, args=(wire,))
            sender.start()
            time.sleep(0.001)
            poller.remove(source.socket.fileno())
            # Python can still use this TLS connection. Only data that the receive thread had already read is lost.
            source.tls.encrypt(b"bye")
            source.socket.setblocking(True)
            source.socket.settimeout(1)
            server.socket.settimeout(10)
            with contextlib.suppress(OSError):
                while sender.is_alive():
                    source.socket.recv(1 << 16)
            sender.join()
        found = [row[6] for row in rows_of(rows)]
        assert found == list(range(len(found)))


def test_what_the_thread_decrypts_stays_with_it(served: ssl.SSLContext) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, _), opened(served, poller) as (other, _):
        for tls in (None, other.tls):
            with pytest.raises(ValueError, match="cannot be read otherwise"):
                poller.route(source.socket.fileno(), None, None, tls)


def test_the_thread_does_no_handshake(served: ssl.SSLContext) -> None:
    poller = new_poller()
    with opened(served, poller) as (source, _), connected() as (ours, _):
        add(poller, ours, source)
        settings = native_context(ssl.create_default_context(), TlsOptions())
        assert settings is not None
        with pytest.raises(ValueError, match="handshake is not done"):
            poller.route(ours.fileno(), None, None, NativeTls(settings, "127.0.0.1"))
        poller.remove(ours.fileno())


def test_a_forked_process_has_its_own_copy_and_the_parent_reads_on(served: ssl.SSLContext) -> None:
    poller, (rows, path) = new_poller(), fast()
    with opened(served, poller) as (source, server):
        poller.route(source.socket.fileno(), None, path, source.tls)
        wire = b"".join(server.record(delivery(sequence)) for sequence in range(300))
        sender = threading.Thread(target=server.socket.sendall, args=(wire,))
        sender.start()
        children = []
        for _ in range(5):
            child = os.fork()
            if child == 0:
                # All locks are free in the child process, whatever the receive thread was doing at the fork.
                done = source.tls.encrypt(b"from the child") and source.tls.open(b"") is not None
                os._exit(0 if done else 1)
            children.append(child)
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        sender.join()
        written: list[list[int]] = []
        deadline = time.monotonic() + 30
        while len(written) < 300:
            written += rows_of(rows)
            assert time.monotonic() < deadline
        assert [row[6] for row in written] == list(range(300))


def test_without_openssls_functions_pythons_objects_decrypt(
    served: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "available", True)
    monkeypatch.setattr("loadgen.transport.address.native_context", lambda *_: None)
    frames = [frame(sized(number, 200)) for number in range(20)]
    ends = [sum(map(len, frames[: number + 1])) + number % 3 for number in range(19)]
    rows, calls, told = receive("native", b"".join(frames), ends, (), served)
    pollers._pollers.clear()
    assert [row[3] for row in rows] == list(range(20))
    assert (calls, told) == ([], 0)


def test_a_library_without_openssl_is_not_used() -> None:
    """The test uses a separate process, because a process keeps the first TLS library that it has loaded."""
    code = """
import _socket, sys
from loadgen import native
print(native.load_tls("/nowhere/_ssl.so"))
print(native.load_tls(_socket.__file__))
try:
    native.TlsContext(
        print, options=0, minimum=0, maximum=0, level=0, flags=0, host_flags=0, ciphers="", suites="", alpn=b"",
        certificate=None, key=None,
    )
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "Python's ssl module is not a loaded library",
        "Python's ssl module does not show OpenSSL's functions",
        "OpenSSL is not loaded",
    ]


def _read_until(descriptor: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        part = os.read(descriptor, 1 << 16)
        assert part, seen
        seen += part


@pytest.mark.skipif(shutil.which("openssl") is None, reason="it has to be OpenSSL's own server")
@pytest.mark.parametrize(
    ("version", "asks", "answers"), [("-tls1_3", b"K\n", False), ("-tls1_2", b"r\n", True)]
)
def test_new_keys_that_the_server_asks_for_are_agreed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, asks: bytes, answers: bool
) -> None:
    """A server may ask for new keys. The client answers a renegotiation at once, but a KeyUpdate with its next data."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(tmp_path / "server.pem")]
    process = subprocess.Popen(
        [*command, version, "-naccept", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                ours = socket.create_connection(("127.0.0.1", port), 30)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        context = native_context(ssl.create_default_context(), TlsOptions())
        assert context is not None
        tls = NativeTls(context, "127.0.0.1")
        tls.handshake()
        ours.sendall(tls.to_send())
        while not tls.ready:
            tls.handshake(ours.recv(1 << 16))
            ours.sendall(tls.to_send())
        ours.setblocking(False)
        poller, source = new_poller(), Opened(tls, ours)
        add(poller, ours, source)
        poller.route(ours.fileno(), None, None, tls)
        sent: list[bytes] = []

        def answer() -> None:
            sent.append(tls.to_send())
            ours.sendall(sent[-1])

        source.tls_wrote = answer  # type: ignore[method-assign]
        process.stdin.write(b"before\n")
        process.stdin.flush()
        process_until(poller, lambda: bytes(source.plain) == b"before\n")
        # `openssl s_server` recognises a command only at the beginning of its input.
        process.stdin.write(asks)
        process.stdin.flush()
        process_until(poller, lambda: sent or not answers)
        deadline = time.monotonic() + 30
        while b"after\n" not in source.plain:
            assert time.monotonic() < deadline
            # s_server drops text that it reads together with the command, so send it until some arrives.
            process.stdin.write(b"after\n")
            process.stdin.flush()
            time.sleep(0.05)
            poller.process(100)
        assert bytes(source.plain).replace(b"after\n", b"") == b"before\n"
        assert bool(sent) is answers
        assert all(sent)
        ours.setblocking(True)
        wire = tls.encrypt(b"with the new key\n")
        # The client answers a KeyUpdate with a record of its own before the data, so `wire` holds two records. After a
        # renegotiation, it holds only the data.
        first = 5 + int.from_bytes(wire[3:5], "big")
        assert (first == len(wire)) is answers
        ours.sendall(wire)
        _read_until(process.stdout.fileno(), b"with the new key")
        poller.remove(ours.fileno())
        ours.close()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.skipif(
    shutil.which("cc") is None or not Path("/usr/include/openssl/ssl.h").exists(),
    reason="no headers of OpenSSL",
)
def test_our_declarations_are_those_of_openssl(tmp_path: Path) -> None:
    header = (ROOT / "loadgen" / "native" / "tls_library.h").read_text()
    named = re.sub(r"/\*.*?\*/", "", header[header.index("enum {") : header.index("};")], flags=re.DOTALL)
    several = {
        "SSL_VERIFY_PEER_OR_FAIL": "SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT",
        "BIO_FLAGS_RETRY": "BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY",
    }
    values = re.findall(r"(\w+) = ([^,]+),", named)
    assert len(values) > 10
    source = "#include <openssl/ssl.h>\n#include <openssl/err.h>\n#include <openssl/x509v3.h>\n"
    source += "".join(
        f'_Static_assert(({several.get(name, name)}) == ({value}), "{name}");\n' for name, value in values
    )
    (tmp_path / "values.c").write_text(source)
    (tmp_path / "functions.c").write_text(
        '#include "tls_library.h"\n#include <openssl/ssl.h>\n#include <openssl/err.h>\n#include <openssl/x509v3.h>\n'
        "#define CHECK(type, name, parameters) _Static_assert("
        "__builtin_types_compatible_p(__typeof__(&name), type(*) parameters), #name);\n"
        "TLS_FUNCTIONS(CHECK)\n"
    )
    folder = ROOT / "loadgen" / "native"
    for name in ("values.c", "functions.c"):
        command = [
            "cc",
            "-fsyntax-only",
            f"-I{folder}",
            f"-I{sysconfig.get_path('include')}",
            str(tmp_path / name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
