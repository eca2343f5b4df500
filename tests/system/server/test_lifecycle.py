"""Test how a server starts, announces itself, refuses to start, and stops."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame
from websockets.protocol import Event
from websockets.sync.client import connect
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import SUBPROTOCOL, encode_header_subprotocol
from loadgen.server.__main__ import main as server_main
from loadgen.server.process import Announcement, ServerProcess, ServerStartError
from tests.authority import server_files
from tests.system.harness import STUCK_S

from .conftest import Client

SECRET = "da2-abcdefghijklmnopqrstuvwxyz"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `python -m loadgen.server` with pipes for its three streams."""
    started: list[subprocess.Popen[str]] = []

    def launch(*options: str, **environment: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-m", "loadgen.server", *options],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
            env=os.environ | environment,
        )
        started.append(process)
        return process

    yield launch
    for process in started:
        process.kill()
        process.communicate()


def test_the_announcement_is_one_line_of_json(start: Start) -> None:
    process = start("--announce")
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert set(ready) == {"http_url", "ws_url", "api_key", "pid", "pids"}
    assert ready["pids"] == [process.pid]
    assert ready["pid"] == process.pid
    assert ready["api_key"].startswith("da2-")
    assert len(ready["api_key"]) == 30
    response = httpx.post(
        ready["http_url"],
        json={"channel": "/default/a", "events": ["1"]},
        headers={"x-api-key": ready["api_key"]},
    )
    assert response.status_code == 200
    process.terminate()
    assert process.communicate(timeout=STUCK_S) == ("", "")


@pytest.mark.parametrize("given", [False, True])
def test_the_editor_is_named_with_a_generated_key_only(start: Start, given: bool) -> None:
    process = start("--port", "0", *(["--api-key-env", "EDITOR_KEY"] if given else []), EDITOR_KEY=SECRET)
    assert process.stdout is not None
    said = dict(line.split(maxsplit=1) for line in (process.stdout.readline()[2:] for _ in range(6)))
    page, _, fragment = said["editor"].strip().partition("#")
    assert page == said["publish"].strip().removesuffix("event")
    assert fragment == ("" if given else f"key={said['API'].removeprefix('key').strip()}")
    assert httpx.get(page).status_code == 200
    process.terminate()
    out, err = process.communicate(timeout=STUCK_S)
    assert SECRET not in out + err + str(said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_clean_stop_that_tells_the_clients(
    start: Start, client: Callable[..., Client], number: signal.Signals
) -> None:
    with ServerProcess() as process:
        one = client(process.announcement)
        one.subscribe("/default/a")
        os.kill(process.announcement.pid, number)
        with pytest.raises(ConnectionClosed):
            one.receive()
        assert one.socket.close_code == 1001
        assert process.stop() == 0


def test_the_server_ends_with_its_standard_input(start: Start) -> None:
    process = start("--announce", "--exit-with-stdin")
    assert process.stdout is not None
    assert process.stdout.readline()
    assert process.poll() is None
    # communicate() closes the server's standard input. With `--exit-with-stdin`, the server then ends.
    assert process.communicate(timeout=STUCK_S) == ("", "")
    assert process.returncode == 0


def test_a_taken_port_is_one_sentence_and_exit_2(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        out, err = process.communicate(timeout=STUCK_S)
    assert (process.returncode, out) == (2, "")
    assert err == (
        f"loadgen server: port {port} on 127.0.0.1 is taken by another program: stop that one, "
        "or choose another port with --port (0 takes a free one)\n"
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "70000"], "port 70000 is not a port"),
        (["--namespace", "a_b"], "namespace 'a_b' is not one"),
        (["--namespace", "a/b"], "namespace 'a/b' is not one"),
        (["--ka-interval", "0"], "keep-alive interval is 0"),
        (["--ka-interval", "nan"], "keep-alive interval is nan"),
        (["--api-key-env", "LOADGEN_NO_SUCH_KEY"], "'LOADGEN_NO_SUCH_KEY' holds no API key"),
        (["--certfile", "cert.pem"], "needs both a certificate and a key"),
        (["--certfile", "no.pem", "--keyfile", "no.pem"], "certificate file 'no.pem' does not exist"),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    """Wrong options are refused before the server listens, so `server_main` can be called in the tests' own process."""
    code = server_main(options)
    said = capsys.readouterr()
    _expect_a_sentence(code, said.out, said.err, says)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ka-interval", "-1"], "keep-alive interval is -1"),
        (["--host", "192.0.2.1"], "is not an address of this machine"),
        (["--certfile", __file__, "--keyfile", __file__], "are not a PEM certificate and its key"),
    ],
)
def test_what_the_process_cannot_begin_with_is_one_sentence_and_exit_2(
    start: Start, options: list[str], says: str
) -> None:
    process = start(*options)
    out, err = process.communicate(timeout=STUCK_S)
    _expect_a_sentence(process.returncode, out, err, says)


def _expect_a_sentence(code: int, out: str, err: str, says: str) -> None:
    assert (code, out) == (2, "")
    assert says in err
    assert err.startswith("loadgen server: ")
    assert err.count("\n") == 1


def test_the_starter_hears_why_a_server_did_not_start() -> None:
    with (
        pytest.raises(ServerStartError, match=r"^port 70000 is not a port"),
        ServerProcess(["--port", "70000"]),
    ):
        pass


def test_people_see_a_generated_key_but_not_their_own(start: Start) -> None:
    for environment, options in (({}, []), ({"MY_KEY": SECRET}, ["--api-key-env", "MY_KEY"])):
        process = start("--exit-with-stdin", *options, **environment)
        out, _ = process.communicate("", timeout=STUCK_S)
        assert process.returncode == 0
        assert "ws://127.0.0.1:" in out
        assert "da2-" in out or "the one in $MY_KEY" in out
        assert SECRET not in out


def test_a_given_key_is_the_only_one_and_never_reaches_the_log() -> None:
    with ServerProcess(api_key=SECRET) as process:
        announcement = process.announcement
        assert announcement.api_key == SECRET
        assert SECRET not in repr(announcement)
        command = Path(f"/proc/{announcement.pid}/cmdline")
        if command.exists():
            assert SECRET not in command.read_text()
        header = encode_header_subprotocol({"host": "h", "x-api-key": SECRET})
        # The client offers no subprotocol with the protocol's name. In this case, aiohttp would log all subprotocols
        # that are offered, and one of them contains the secret.
        with connect(announcement.ws_url, subprotocols=[Subprotocol(header)]) as refused:
            assert "NoProtocolError" in str(refused.recv(STUCK_S))
        assert process.stderr_path is not None
        assert process.stderr_path.read_text() == ""


@contextmanager
def tls_client(
    server: Announcement, context: ssl.SSLContext
) -> Iterator[tuple[ClientProtocol, Callable[[], messages.ServerMessage]]]:
    """Yield a connected protocol and a function that flushes it and returns the next message.

    websockets.sync reads and writes from two threads; over the ssl module of Python 3.11 that hung, once in fewer
    than 3,000 connections. One thread did not in 24,000.
    """
    url = parse_uri(server.ws_url)
    protocol = ClientProtocol(url, subprotocols=[Subprotocol(SUBPROTOCOL)])
    request = protocol.connect()
    request.headers["x-api-key"] = server.api_key
    protocol.send_request(request)
    plain = socket.create_connection((url.host, url.port), STUCK_S)
    with context.wrap_socket(plain, server_hostname=url.host) as wrapped:
        pending: list[Event] = []

        def next_event() -> Event:
            wrapped.sendall(b"".join(protocol.data_to_send()))
            while not pending:
                protocol.receive_data(wrapped.recv(65536))
                pending.extend(protocol.events_received())
            return pending.pop(0)

        def received() -> messages.ServerMessage:
            event = next_event()
            assert isinstance(event, Frame)
            return messages.decode_server_message(event.data)

        next_event()
        assert protocol.handshake_exc is None
        yield protocol, received


def test_tls_serves_both_transports(tmp_path: Path, start: Start) -> None:
    files = server_files(tmp_path)
    context = ssl.create_default_context(cafile=files.authority)
    with ServerProcess(files.options) as process:
        ready = process.announcement
        assert ready.http_url.startswith("https://")
        headers = {"x-api-key": ready.api_key}
        with tls_client(ready, context) as (protocol, received):
            protocol.send_text(messages.subscribe("s", "/default/a", headers))
            assert received().type == "subscribe_success"
            body = messages.publish_request("/default/a", ["1", "2"])
            assert (
                httpx.post(ready.http_url, content=body, headers=headers, verify=context).status_code == 200
            )
            assert [received().event, received().event] == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_open_file_limit_is_raised_to_the_hard_one() -> None:
    with ServerProcess() as process:
        text = Path(f"/proc/{process.announcement.pid}/limits").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("Max open files")]
    soft, hard = line.split()[3:5]
    assert soft == hard
