"""Test access to the web UI and the Prometheus port, for every route."""

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust import User, events, task
from locust.argument_parser import get_parser
from locust.env import Environment
from werkzeug.test import Client

from loadgen.exits import RunError
from loadgen.live import prometheus, web
from loadgen.live.entry import TOKEN_VARIABLE, Entry, Hosts, token_of_environment
from loadgen.live.prometheus import Endpoint
from loadgen.run.locust_options import add_options

TOKEN = "t0ken-of-this-very-test"
HERE = "127.0.0.1:8089"
BEARER = {"Host": HERE, "Authorization": f"Bearer {TOKEN}"}


class Idle(User):
    @task
    def nothing(self) -> None:
        pass


@pytest.fixture
def ui(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr("sys.argv", ["locust"])
    parser = get_parser()
    add_options(parser)
    environment = Environment(user_classes=[Idle], events=events)
    runner = environment.create_local_runner()
    environment.parsed_options = parser.parse_args([])
    made = environment.create_web_ui("127.0.0.1", 8089, delayed_start=True)
    web.extend(made, "", lambda: None)
    web.guard(made, TOKEN, ["load.example.com"])
    yield made
    runner.quit()


@pytest.fixture
def client(ui: Any) -> Client:
    return Client(ui.app, use_cookies=False)


def every_path(ui: Any) -> list[tuple[str, str]]:
    return [
        (method, rule.rule.replace("<path:path>", "index.js").replace("<name>", "page.js"))
        for rule in ui.app.url_map.iter_rules()
        for method in sorted(rule.methods)
    ]


def test_no_route_is_served_without_the_token_or_to_another_origin(ui: Any, client: Client) -> None:
    paths = [*every_path(ui), ("GET", "/no-such-page"), ("PUT", "/"), ("OPTIONS", "/swarm")]
    assert {"/swarm", "/logs", "/metrics", "/fan-out/data", "/stats/report"} <= {path for _, path in paths}
    wrong: list[dict[str, str]] = [
        {"Host": HERE},
        {"Host": HERE, "Authorization": "Bearer t0ken-of-this-very-tes"},
        {"Host": HERE, "Cookie": "loadgen-8089=x"},
        {**BEARER, "Host": "evil.example"},
        {**BEARER, "Host": "evil.example:8089"},
        {**BEARER, "Host": "127.0.0.1.evil.example"},
        {**BEARER, "Host": "10.0.0.1:8089"},
        {**BEARER, "Host": "127.0.0.1, evil.example"},
        {**BEARER, "Host": ""},
        {**BEARER, "Origin": "http://evil.example"},
        {**BEARER, "Origin": "null"},
        {**BEARER, "Origin": "http://127.0.0.1:3000"},
        {**BEARER, "Sec-Fetch-Site": "cross-site"},
        {**BEARER, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {**BEARER, "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ]
    for method, path in paths:
        for headers in wrong:
            answer = client.open(path, method=method, headers=headers)
            assert answer.status_code == 403, (method, path, headers)
            assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]


def test_whoever_opens_the_printed_address_gets_a_cookie_and_no_token_in_the_address(ui: Any) -> None:
    client = Client(ui.app, use_cookies=False)
    first = client.get("/?tab=fan-out&token=" + TOKEN, headers={"Host": HERE})
    assert (first.status_code, first.headers["Location"]) == (303, "/?tab=fan-out")
    cookie = first.headers["Set-Cookie"]
    assert cookie.startswith("loadgen-8089=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    kept = {"Host": HERE, "Cookie": cookie.partition(";")[0]}
    for path in ("/", "/fan-out/data", "/metrics", "/logs"):
        answer = client.get(path, headers={**kept, "Origin": f"http://{HERE}"})
        assert answer.status_code == 200, path
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["X-Frame-Options"] == "SAMEORIGIN"
    for host in ("localhost:9999", "[::1]:8089", "load.example.com", "LOAD.example.com."):
        assert (
            client.get("/logs", headers={**kept, "Host": host, "Origin": f"http://{host}"}).status_code == 200
        )
    elsewhere = {"PATH_INFO": "//evil.example/"}
    led = client.get(f"/?token={TOKEN}", headers={"Host": HERE}, environ_overrides=elsewhere)
    assert led.headers["Location"] == "/evil.example/"
    assert client.get(f"/?token={TOKEN}x", headers={"Host": HERE}).status_code == 403


def test_the_form_sets_no_option_but_locust_s_own(ui: Any, client: Client) -> None:
    options = ui.environment.parsed_options
    parser = get_parser()
    add_options(parser)
    (ours,) = [group for group in parser._action_groups if group.title.startswith("Event API")]
    names = {action.dest for action in ours._group_actions}
    assert {"target", "results", "auth", "allow_remote", "overrides", "faults"} <= names
    for name in sorted(names | {"html_file", "csv_prefix", "logfile", "locustfile", "master_bind_host"}):
        before = dict(vars(options))
        answer = client.post("/swarm", data={"user_count": 1, "spawn_rate": 1, name: "x"}, headers=BEARER)
        assert (answer.status_code, name in answer.text) == (400, True)
        assert vars(options) == before
    assert ui.environment.runner.user_count == 0
    assert client.post("/swarm", data={"x": "y" * 100_000}, headers=BEARER).status_code == 413
    # The web UI's start form does not show loadgen's options.
    assert not names & set(parser.args_included_in_web_ui)


def test_a_given_token_is_checked_and_leaves_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (first, was_given), (second, _) = token_of_environment(), token_of_environment()
    assert first != second
    assert len(first) >= 32
    assert not was_given
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert token_of_environment() == (TOKEN, True)
    import os

    assert TOKEN_VARIABLE not in os.environ
    for short in ("", "short", "x" * 201, "with spaces in the token", "ümläute-sind-nicht"):
        monkeypatch.setenv(TOKEN_VARIABLE, short)
        with pytest.raises(
            RunError, match=r"LOADGEN_WEB_TOKEN is not a valid token: use 16 to 200"
        ) as caught:
            token_of_environment()
        assert short == "" or short not in str(caught.value)


@given(st.text(max_size=60))
def test_only_names_of_the_server_are_hosts(text: str) -> None:
    loopback = Hosts("127.0.0.1")
    if text in loopback:
        host = text.rpartition(":")[0] if text.rpartition(":")[2].isdigit() else text
        assert host.lower().rstrip(".") in ("localhost", "127.0.0.1", "[::1]")


def test_on_all_interfaces_any_literal_address_is_a_host_and_no_foreign_name() -> None:
    everywhere = Hosts("", ["load-1"])
    for host in ("192.168.1.5:8089", "[fe80::1]", "localhost", "load-1:80"):
        assert host in everywhere
    for host in ("evil.example", "192.168.1.5.nip.io", "1.2.3", "[zz]", "load-1:", "load-1:x", "a b"):
        assert host not in everywhere
    assert "192.168.1.5" in Hosts("192.168.1.5")
    assert "localhost" not in Hosts("192.168.1.5")
    for wrong in ("", "http://x", "a:1", "a b", "ä"):
        with pytest.raises(RunError, match=r"--allowed-host: .* is not a host name"):
            Hosts("", [wrong])


def test_refusals_are_told_once_each_and_few(capsys: pytest.CaptureFixture[str]) -> None:
    entry = Client(Entry(lambda environ, respond: [], Hosts("127.0.0.1"), "web UI", TOKEN))
    for _ in range(3):
        for number in range(30):
            entry.get("/", headers={"Host": HERE, "Origin": f"http://evil-{number}\x1b[2J.example"})
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert all("web UI: a request was refused: it came from a page of" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def in_thread(function: Any) -> Any:
    return gevent.get_hub().threadpool.spawn(function).get()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setattr(prometheus, "_REQUEST_S", 0.5)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = Endpoint(str(port), lambda: None, ["scraped.example"])
    yield made
    made.close()


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    def ask() -> int:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
                code: int = answer.status
                return code
        except urllib.error.HTTPError as error:
            return error.code

    found: int = in_thread(ask)
    return found


def test_the_prometheus_port_checks_the_host_and_takes_no_body(endpoint: Endpoint) -> None:
    assert status(endpoint.url) == 200
    assert status(endpoint.url, Host="scraped.example:9464") == 200
    assert status(endpoint.url, Host="evil.example") == 403
    assert status(endpoint.url, Origin="http://evil.example") == 403
    assert status(endpoint.url, b"x") == 400


@pytest.mark.parametrize(
    "sent", [b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ", b"GET /metrics HTTP/1.1\r\nX-A: " + b"y" * 70_000]
)
def test_the_prometheus_port_waits_for_no_request_for_ever(endpoint: Endpoint, sent: bytes) -> None:
    port = int(endpoint.url.rpartition(":")[2].partition("/")[0])

    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(sent)
            return client.recv(1000)

    begun = time.monotonic()
    try:
        answered = in_thread(ask)
    except ConnectionResetError:
        answered = b""
    assert answered == b"" or answered.startswith(b"HTTP/1.1 400")
    assert time.monotonic() - begun < 5
