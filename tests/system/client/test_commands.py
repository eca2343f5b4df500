"""Test `loadgen publish`, `subscribe` and `probe` as a user runs them, on the embedded server."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from loadgen.server.process import Announcement, ServerProcess
from loadgen.server.testing import LocalEventApi
from loadgen.transport.names import loopback_addresses
from tests.authority import server_files
from tests.system.harness import STUCK_S, Finished, free_port, loadgen, start
from tests.system.here import Here
from tests.system.here import here as call
from tests.system.server.beside import beside

STEPS = [
    "DNS",
    "TCP",
    "TLS",
    "WebSocket",
    "login",
    "subscribe",
    "publish over HTTP",
    "delivery",
    "publish over WebSocket",
    "delivery",
    "deep wildcard",
    "wrong login",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Announcement]:
    with ServerProcess([]) as process:
        yield process.announcement


def environment(server: Announcement, **more: str) -> dict[str, str]:
    return {"LOADGEN_TARGET": server.http_url, "LOADGEN_API_KEY": server.api_key, **more}


def ask(server: Announcement, *arguments: str, **more: str) -> Finished:
    return loadgen(*arguments, env=environment(server, **more), timeout_s=STUCK_S)


def here(server: Announcement, *arguments: str, **more: str) -> Here:
    return call(*arguments, env=environment(server, **more))


def listening(server: Announcement, *arguments: str) -> Popen[str]:
    """Start a subscriber, and return once it has subscribed."""
    process = start("subscribe", *arguments, env=environment(server))
    assert process.stderr is not None
    assert process.stderr.readline() == f"loadgen: subscribed to {arguments[0]}\n"
    return process


def test_publish_says_what_became_of_each_event(server: Announcement) -> None:
    began = time.monotonic()
    done = ask(server, "publish", "/default/a", '{"a":1}', "hello there", "--wait", "--json")
    took_ms = (time.monotonic() - began) * 1e3
    assert done.code == 0, done.said
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["index"], row["accepted"]) for row in rows] == [(0, True), (1, True)]
    assert all(0 < row["latency_ms"] < took_ms for row in rows)


@pytest.mark.parametrize("transport", [[], ["--websocket"]])
def test_a_refusal_is_one_sentence(server: Announcement, transport: list[str]) -> None:
    for arguments, sentence in (
        (["/nope/a", "1"], "loadgen: the publish to /nope/a was refused: UnauthorizedException"),
        (["/default/a", *"123456"], "5 event limit"),
        (["/default/*", "1"], "Invalid Channel Format"),
    ):
        done = here(server, "publish", *arguments, *transport)
        assert done.code == 4, done.said
        assert sentence in done.err
        assert len(done.err.splitlines()) == 1


def test_events_that_fail_alone_are_told_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "api.yaml").write_text("quotas: {event: 5B}")
    with beside(api_file=tmp_path / "api.yaml") as own:
        done = here(own, "publish", "/default/a", "1", '"\x1b[31m"', "--wait")
    assert done.code == 1, done.said
    assert "1  accepted  arrived after" in done.out
    assert "2  EventTooLargeException: Transformed event is larger than 240KB" in done.out
    assert "\x1b[31m" not in done.out


def test_subscribe_prints_events_with_latency_where_they_are_stamped(server: Announcement) -> None:
    process = listening(server, "/default/*", "--count", "3", "--json")
    began_ns = time.time_ns()
    assert here(server, "publish", "/default/x/y", '{"a":1}', "--stamp").code == 0
    assert here(server, "publish", "/default/z", '"plain"', "2").code == 0
    done = Finished(process, 120)
    assert done.code == 0, done.said
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert json.loads(rows[0]["event"])["a"] == 1
    assert 0 < rows[0]["latency_ns"] < time.time_ns() - began_ns
    assert [(row["event"], row["latency_ns"]) for row in rows[1:]] == [('"plain"', None), ("2", None)]


def test_subscribe_shows_a_hostile_event_as_text(server: Announcement) -> None:
    process = listening(server, "/default/h", "--count", "1")
    assert here(server, "publish", "/default/h", '"[red]x[/red] \\u001b[31m\x1b]0;owned\x07"').code == 0
    done = Finished(process, 120)
    assert "\x1b" not in done.out
    assert "\x07" not in done.out
    assert "[red]x[/red]" in done.out


def test_subscribe_ends_by_time_by_interrupt_and_with_the_server() -> None:
    with ServerProcess([]) as own:
        server = own.announcement
        assert Finished(listening(server, "/default/a", "--for", "0.3"), 120).code == 0
        interrupted = listening(server, "/default/a")
        os.killpg(interrupted.pid, signal.SIGINT)
        done = Finished(interrupted, 120)
        assert (done.code, done.err) == (130, "")
        left = listening(server, "/default/a")
        own.stop()
        done = Finished(left, 120)
    assert done.code == 4
    assert done.err.startswith("loadgen: the service closed the connection with code 1001")
    assert len(done.err.splitlines()) == 1


def test_a_missing_key_is_one_sentence(server: Announcement) -> None:
    done = here(server, "publish", "/default/a", "1", LOADGEN_API_KEY="")
    assert done.code == 2
    assert "LOADGEN_API_KEY is not set" in done.err


def steps(done: Finished | Here) -> dict[str, object]:
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["name"] for row in rows] == STEPS
    failed = next((row for row in rows if row["ok"] is False), None)
    assert all(row["ok"] is None for row in rows[rows.index(failed) + 1 :]) if failed else True
    return failed or {}


def test_probe_goes_all_the_way(server: Announcement) -> None:
    done = ask(server, "probe", "--json")
    assert done.code == 0, done.said
    assert steps(done) == {}
    deep, wrong = [json.loads(line) for line in done.out.splitlines()][-2:]
    assert deep["detail"] == "/default/* gets events two levels below"
    assert wrong["detail"] == "refused: UnauthorizedException"
    assert deep["ok"] is wrong["ok"] is True


@pytest.mark.parametrize(
    ("more", "arguments", "step", "seen"),
    [
        (
            {"LOADGEN_TARGET": "http://no-such-host.invalid/event"},
            [],
            "DNS",
            "no-such-host.invalid has no address",
        ),
        ({"LOADGEN_TARGET": "http://127.0.0.1:{free}/event"}, [], "TCP", "Connection refused"),
        ({"LOADGEN_TARGET": "https://127.0.0.1:{port}/event"}, [], "TLS", "does not speak TLS"),
        ({"LOADGEN_API_KEY": "da2-wrong"}, [], "login", "UnauthorizedException"),
        ({}, ["--channel", "/nope/a"], "subscribe", "UnauthorizedException"),
        ({}, ["--channel", "no good"], "subscribe", "Invalid Channel Format"),
        ({}, ["--channel", "/default/*"], "publish over HTTP", "Invalid Channel Format"),
    ],
)
def test_probe_names_the_step_that_fails(
    server: Announcement, more: dict[str, str], arguments: list[str], step: str, seen: str
) -> None:
    port = server.http_url.rpartition(":")[2].partition("/")[0]
    more = {name: value.format(free=free_port(), port=port) for name, value in more.items()}
    done = here(server, "probe", "--json", *arguments, **more)
    assert done.code == 4, done.said
    failed = steps(done)
    assert failed["name"] == step
    assert seen in str(failed["detail"])
    assert failed["advice"]


def test_probe_over_tls_and_with_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    files = server_files(tmp_path, "localhost")
    with ServerProcess([*files.options, "--host", "localhost"]) as own:
        server = own.announcement
        trusted = here(server, "probe", "--json", SSL_CERT_FILE=str(files.authority))
        assert trusted.code == 0, trusted.said
        assert steps(trusted) == {}
        assert "TLSv1.3" in trusted.out
        failed = steps(here(server, "probe", "--json"))
    assert failed["name"] == "TLS"
    assert "not trusted" in str(failed["detail"])


def test_probe_of_something_that_is_no_event_api() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        stop = threading.Event()

        def answer() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(1)
                    try:
                        connection.recv(65536)
                        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    except OSError:
                        continue

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/event"
        done = call("probe", "--json", env={"LOADGEN_TARGET": url, "LOADGEN_API_KEY": "x"})
        stop.set()
    failed = steps(done)
    assert failed["name"] == "WebSocket"
    assert "404" in str(failed["detail"])


@pytest.mark.parametrize("key", [None, "da2-1wrong2wrong3wrong4"])
def test_probe_shows_frames_without_the_key(server: Announcement, key: str | None) -> None:
    more = {} if key is None else {"LOADGEN_API_KEY": key}
    for form in ([], ["--json"]):
        done = here(server, "probe", "--frames", *form, **more)
        assert done.code == (0 if key is None else 4), done.said
        secret = key or server.api_key
        assert secret not in done.said
        assert (
            base64.urlsafe_b64encode(json.dumps({"x-api-key": secret}).encode()).decode()[:24]
            not in done.said
        )
        assert "connection_init" in done.said
        assert ("connection_error" if key else "publish_success") in done.said


def test_the_picture_for_people_fits_a_terminal(server: Announcement) -> None:
    done = here(server, "probe")
    assert done.code == 0
    assert "all is well" in done.out
    assert [line for line in done.out.splitlines() if len(line) > 80] == []


#: Host names of this machine. For the first two, the harness derives another name for the realtime host.
LOCAL_NAMES = (
    "abc.appsync-api.eu-west-1.localhost",
    "abc.appsync-realtime-api.eu-west-1.LOCALHOST.",
    "x.localhost",
)


@pytest.mark.parametrize("name", LOCAL_NAMES)
@pytest.mark.parametrize(
    "variables", [{}, {"HTTP_PROXY": "{dead}", "HTTPS_PROXY": "{dead}", "ALL_PROXY": "{dead}"}]
)
def test_names_under_localhost_need_no_resolver_and_no_proxy(
    server: Announcement, name: str, variables: dict[str, str]
) -> None:
    port = server.http_url.rpartition(":")[2].partition("/")[0]
    proxies = {key: value.format(dead=f"http://127.0.0.1:{free_port()}") for key, value in variables.items()}
    target = f"http://{name}:{port}/event"
    done = here(server, "probe", "--json", LOADGEN_TARGET=target, **proxies)
    assert done.code == 0, done.said
    for transport in ([], ["--websocket"]):
        done = here(
            server, "publish", "/default/a", "1", "--wait", *transport, LOADGEN_TARGET=target, **proxies
        )
        assert done.code == 0, done.said


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "api.localhost"])
def test_a_server_under_localhost_may_listen_on_either_address(host: str) -> None:
    if host == "::1" and len(loopback_addresses("x.localhost")) == 1:
        pytest.skip("this machine has no IPv6")
    with LocalEventApi(host=host) as api:
        port = api.http_url.rpartition(":")[2].partition("/")[0]
        environment = {"LOADGEN_API_KEY": api.api_key}
        for name in LOCAL_NAMES:
            target = f"http://{name}:{port}/event"
            done = call("publish", "/default/a", "1", "--wait", env={**environment, "LOADGEN_TARGET": target})
            assert done.code == 0, done.said
            # The names have an IPv4 and an IPv6 address, but the server may listen on only one of them. A failed
            # attempt with the other is not reported.
            assert done.err == ""


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['loadgen', '--help']\n"
        "from loadgen.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('locust', 'gevent', 'botocore', 'httpx', 'pandas') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"
