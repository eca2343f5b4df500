"""Test a real forward proxy (Debian's tinyproxy) with a login, in front of a non-loopback address."""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadgen.server.process import ServerProcess
from tests.programs import require
from tests.system.harness import SMALL, STUCK_S, Finished, free_port, loadgen, only_run, overrides, read
from tests.system.run.pages import page
from tests.system.users.player import Player

#: An address that the tests add to this machine. It is derived from the process id, because tests may run in parallel.
ADDRESS = f"10.99.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"
PASSWORD = "hunter2-secret"
KEY = "da2-through-a-real-proxy-26"


@dataclass
class Tinyproxy:
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://load:{PASSWORD}@127.0.0.1:{self.port}"

    def asked(self) -> list[str]:
        """Return the request lines that the proxy has received."""
        return re.findall(r": ([A-Z]+ \S+) HTTP/1\.[01]", self.log.read_text(errors="replace"))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    added = subprocess.run(
        ["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], capture_output=True, check=False
    )
    if added.returncode:
        pytest.skip("this machine takes no further address (root only)")
    yield ADDRESS
    subprocess.run(["ip", "address", "del", f"{ADDRESS}/32", "dev", "lo"], capture_output=True, check=False)


@pytest.fixture
def tinyproxy(tmp_path: Path) -> Iterator[Tinyproxy]:
    program = require("tinyproxy")
    port = free_port()
    found = Tinyproxy(port, tmp_path / "tinyproxy.log")
    lines = (
        f"Port {port}",
        "Listen 127.0.0.1",
        "Timeout 60",
        f'LogFile "{found.log}"',
        "LogLevel Connect",
        "MaxClients 200",
        f"BasicAuth load {PASSWORD}",
    )
    (tmp_path / "tinyproxy.conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [program, "-d", "-c", str(tmp_path / "tinyproxy.conf")], stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(100):
            time.sleep(0.05)
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def target(address: str) -> Iterator[str]:
    os.environ["LOADGEN_PROXIED_KEY"] = KEY
    options = ["--host", address, "--api-key-env", "LOADGEN_PROXIED_KEY", "--namespace", "default"]
    with ServerProcess(options) as server:
        yield server.announcement.http_url


def by_hand(target: str, *more: str, **env: str) -> Finished:
    arguments = (
        "publish",
        "/default/x",
        '{"a":1}',
        "--target",
        target,
        "--auth",
        "api-key:LOADGEN_PROXIED_KEY",
    )
    return loadgen(*arguments, *more, env=env)


def test_a_run_goes_through_it_with_all_it_has_and_says_so(
    tinyproxy: Tinyproxy, target: str, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    finished = loadgen(
        *("run", "comments", "--target", target, "--auth", "api-key:LOADGEN_PROXIED_KEY", "--allow-remote"),
        *("--results", str(results), *overrides((*SMALL, "phases.measure=1s", "phases.drain=500ms"))),
        env={"HTTP_PROXY": tinyproxy.url},
        timeout_s=STUCK_S,
    )
    assert finished.code in (0, 3), finished.said
    where = target.removeprefix("http://").removesuffix("/event")
    assert (
        f"note: connections to http://{where} and ws://{where} go through the proxy 127.0.0.1:{tinyproxy.port}"
        " (HTTP_PROXY); --no-proxy goes directly"
    ) in finished.err
    folder = only_run(results)
    manifest, summary = read(folder / "manifest.json"), read(folder / "summary.json")
    routed = [
        {
            "address": f"127.0.0.1:{tinyproxy.port}",
            "variable": "HTTP_PROXY",
            "login": True,
            "to": [f"http://{where}", f"ws://{where}"],
        }
    ]
    assert manifest["target"]["proxies"] == routed
    assert [worker["proxies"] for worker in manifest["workers"]] == [routed]
    assert summary["target"]["proxies"] == [f"127.0.0.1:{tinyproxy.port} (HTTP_PROXY)"]
    assert summary["ledger"]["delivered"] > 0
    assert "through a proxy" in page(folder)
    assert f"through the proxy 127.0.0.1:{tinyproxy.port}" in (folder / "summary.md").read_text()
    asked = tinyproxy.asked()
    # Each reader, each commenter, the first check and the readiness probe use a tunnel, and nothing else is
    # requested.
    assert asked.count(f"CONNECT {where}") == len(asked)
    assert len(asked) >= 40 + 3
    for path in folder.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
    assert PASSWORD not in finished.out + finished.err


def test_what_goes_directly_never_reaches_it(tinyproxy: Tinyproxy, target: str) -> None:
    assert by_hand(target, HTTP_PROXY=tinyproxy.url, NO_PROXY="10.99.0.0/16").code == 0
    assert by_hand(target, "--no-proxy", HTTP_PROXY=tinyproxy.url).code == 0
    with ServerProcess(["--api-key-env", "LOADGEN_PROXIED_KEY", "--namespace", "default"]) as local:
        here = local.announcement.http_url
        assert by_hand(here, "--wait", HTTP_PROXY=tinyproxy.url, ALL_PROXY="socks5://x:1").code == 0
    assert tinyproxy.asked() == []


def demand_refused(
    commands: Player, tinyproxy: Tinyproxy, target: str, command: tuple[str, ...], user: str, said: str
) -> None:
    finished = commands.command(
        tinyproxy.log.parent,
        *("loadgen", *command, "--target", target, "--auth", "api-key:LOADGEN_PROXIED_KEY"),
        env={"http_proxy": f"http://{user}127.0.0.1:{tinyproxy.port}", "COLUMNS": "400"},
    )
    assert finished.code == 4, finished.said
    assert f"the proxy 127.0.0.1:{tinyproxy.port} {said}" in finished.out + finished.err
    assert "wrong-word" not in finished.out + finished.err


@pytest.mark.parametrize(
    "command",
    [
        ("publish", "/default/x", "1"),
        ("subscribe", "/default/x", "--count", "1"),
        ("probe",),
        ("run", "comments", "--allow-remote"),
    ],
    ids=lambda command: command[0],
)
def test_a_login_that_is_missing_is_the_proxys_refusal(
    tinyproxy: Tinyproxy, target: str, command: tuple[str, ...], commands: Player
) -> None:
    said = (
        "wants a login (407 Proxy Authentication Required): write it into http_proxy as http://NAME:PASSWORD@"
    )
    demand_refused(commands, tinyproxy, target, command, "", said)


def test_a_login_that_is_wrong_is_the_proxys_refusal(
    tinyproxy: Tinyproxy, target: str, commands: Player
) -> None:
    said = "does not accept the login in http_proxy (401 Unauthorized)"
    for command in (("probe",), ("run", "comments", "--allow-remote")):
        demand_refused(commands, tinyproxy, target, command, "load:wrong-word@", said)


def test_a_target_that_the_proxy_cannot_reach_is_told_as_its_word(tinyproxy: Tinyproxy, address: str) -> None:
    finished = by_hand(f"http://{address}:9/event", HTTP_PROXY=tinyproxy.url)
    assert finished.code == 4, finished.said
    assert f"cannot connect to {address}:9 (500 Unable to connect)" in finished.err


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (("publish", "/default/x", "1"), "socks5://u:hunter2@127.0.0.1:1"),
        (("probe",), "https://127.0.0.1:1"),
        (("run", "comments", "--allow-remote"), "http://a b"),
    ],
    ids=["publish", "probe", "run"],
)
def test_what_is_not_supported_ends_with_a_sentence_before_anything_is_sent(
    target: str, command: tuple[str, ...], value: str, tmp_path: Path, commands: Player
) -> None:
    """The exact message for each value is tested in tests/proxy/test_choose.py."""
    login = ("--target", target, "--auth", "api-key:LOADGEN_PROXIED_KEY")
    finished = commands.command(tmp_path, "loadgen", *command, *login, env={"ALL_PROXY": value})
    assert finished.code == 2, finished.said
    assert "ALL_PROXY names " in finished.err
    assert "Traceback" not in finished.err
    assert "hunter2" not in finished.err
