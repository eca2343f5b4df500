"""Test that silent connections are noticed, and that a pause of the load generator does not look like silence."""

import contextlib
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import gevent
import pytest

from loadgen.measure.clock import now_ns
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.server.process import Announcement, ServerProcess
from tests.transport.quiet import QuietRelay
from tests.transport.test_websocket import converse
from tests.waiting import wait_for

MS = 1_000_000


def through(server: Announcement, relay: QuietRelay) -> AppSyncEvents:
    parts = urlsplit(server.http_url)
    url = f"{parts.scheme}://127.0.0.1:{relay.port}{parts.path}"
    return AppSyncEvents(Endpoints.from_url(url), ApiKey(server.api_key))


def a_silent_connection_is_told_of(server: Announcement) -> None:
    with QuietRelay(urlsplit(server.http_url).port or 0) as relay:
        service = through(server, relay)
        connection, _, _, _ = converse(service)
        silent: list[tuple[int, int]] = []
        begun_ns = now_ns()
        connection.watch_silence(600 * MS, lambda heard_ns: silent.append((heard_ns, now_ns())))
        # The service answers pings, so it does not count as silent.
        for _ in range(10):
            connection.ping()
            gevent.sleep(0.15)
        assert not silent
        relay.silent.set()
        connection.ping()
        silenced_ns = now_ns()
        wait_for(lambda: silent)
        ((heard_ns, told_ns),) = silent
        assert begun_ns < heard_ns <= silenced_ns + 50 * MS
        assert told_ns - heard_ns >= 599 * MS
        connection.abort()
        # The connection has ended, so it is no longer watched for silence.
        assert connection._silence is None
        relay.silent.clear()


@pytest.mark.usefixtures("inlet_kind")
def test_a_silent_connection_over_plain_tcp(silent_server: Announcement) -> None:
    a_silent_connection_is_told_of(silent_server)


@pytest.mark.usefixtures("inlet_kind")
def test_a_silent_connection_over_tls(trusted: Announcement) -> None:
    a_silent_connection_is_told_of(trusted)


@pytest.fixture(scope="module")
def silent_server() -> Iterator[Announcement]:
    with ServerProcess() as server:
        yield server.announcement


STOPPED = """
import socket, sys, gevent, time
from loadgen.transport.silence import SilenceWatch
from loadgen.transport.tcp_info import last_data_ns, unread_bytes
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.setblocking(False)

class Source:
    def quiet_ns(self): return last_data_ns(sock)
    def has_unread(self): return unread_bytes(sock) > 0
    def failed(self, error): raise error

def read():
    while True:
        try:
            sock.recv(65536)
        except BlockingIOError:
            pass
        gevent.sleep(0.005)

gevent.spawn(read)
SilenceWatch.add(watch := SilenceWatch(), Source(), 1_000_000_000, lambda _: print("silent", flush=True))
print("ready", flush=True)
gevent.sleep(30)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_a_generator_that_was_stopped_is_not_taken_for_a_silent_service(tmp_path: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, str(script), str(listener.getsockname()[1])], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        server, _ = listener.accept()
        with server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            server.setblocking(False)
            assert process.stdout.readline() == "ready\n"
            stopped = False
            begun = time.monotonic()
            # The service sends all the time. While the process is stopped, its TCP receive window fills up,
            # and then no more data can arrive.
            while (passed := time.monotonic() - begun) < 4.5:
                with contextlib.suppress(BlockingIOError):
                    server.send(bytes(65536))
                if not stopped and passed > 0.5:
                    process.send_signal(signal.SIGSTOP)
                    stopped = True
                if stopped and passed > 3.5:
                    process.send_signal(signal.SIGCONT)
                time.sleep(0.002)
            assert not select.select([process.stdout], [], [], 0)[0]
            # From now on the service really is silent.
            assert process.stdout.readline() == "silent\n"
        process.kill()
        process.communicate()
