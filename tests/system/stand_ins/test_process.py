"""Test the process around a stand-in: how it starts, what it prints, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from loadgen.server.process import ServerProcess, ServerStartError
from tests.authority import server_files
from tests.paths import REPO
from tests.system.harness import STUCK_S, loadgen

SERVICE = ["--service", "appsync-graphql"]


def stand_in(*options: str, api_key: str | None = None) -> ServerProcess:
    return ServerProcess([*SERVICE, *options], api_key=api_key, module="loadgen.stand_ins")


def test_it_announces_its_urls_and_key_and_ends_with_its_starter() -> None:
    with stand_in(api_key="da2-mine") as process:
        announced = process.announcement
        port = urlsplit(announced.http_url).port
        assert announced.http_url == f"http://127.0.0.1:{port}/graphql"
        assert announced.ws_url == f"ws://127.0.0.1:{port}/graphql/realtime"
        assert announced.target == f"graphql+http://127.0.0.1:{port}/graphql"
        assert announced.api_key == "da2-mine"
        assert list(announced.pids) == [announced.pid]
        assert process.poll() is None
        assert process.stop() == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port or 0), 5)


def test_a_generated_key_is_announced() -> None:
    with stand_in() as process:
        assert process.announcement.api_key.startswith("da2-")
        probed = loadgen(
            "probe",
            "--target",
            process.announcement.target,
            env={"LOADGEN_API_KEY": process.announcement.api_key},
        )
        assert probed.code == 0, probed.said


def test_by_hand_it_says_where_it_is_and_a_signal_stops_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "loadgen", "serve", *SERVICE, "--port", "0", "--api-key-env", "THE_KEY"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPO,
        env={**os.environ, "THE_KEY": "da2-mine"},
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        assert process.wait(STUCK_S) == 0
    text = "".join(lines)
    assert text.startswith("Stand-in of AWS AppSync GraphQL is ready; stop it with Ctrl-C.\n")
    assert "  target      graphql+http://127.0.0.1:" in text
    assert "  API key     the one in $THE_KEY" in text
    assert "da2-mine" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--option", "lose-evry=3"], "--option lose-evry is unknown: this service has"),
        (
            ["--journal", "no/such/folder/lost.jsonl"],
            "the journal 'no/such/folder/lost.jsonl' cannot be written",
        ),
        (["--host", "192.0.2.1"], "is not an address of this machine"),
        (["--certfile", "a.pem", "--keyfile", "a.key"], "are not a PEM certificate and its key"),
    ],
)
def test_a_start_that_fails_is_one_sentence(options: list[str], said: str) -> None:
    with pytest.raises(ServerStartError) as caught, stand_in(*options):
        pass
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with (
            pytest.raises(ServerStartError, match=f"port {port} on 127.0.0.1 is taken"),
            stand_in("--port", port),
        ):
            pass


def test_over_tls_every_step_of_a_probe_passes(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    with stand_in(*files.options) as process:
        announced = process.announcement
        assert announced.http_url.startswith("https://")
        probed = loadgen(
            *("probe", "--target", announced.http_url, "--json"),
            env={"LOADGEN_API_KEY": announced.api_key, "SSL_CERT_FILE": str(files.authority)},
        )
    steps = [json.loads(line) for line in probed.out.splitlines()]
    # GraphQL has no wildcards, so the step `deep wildcard` is skipped.
    assert [step["name"] for step in steps if not step["ok"]] == ["deep wildcard"], probed.said
    assert [step["ok"] for step in steps if step["name"] == "deep wildcard"] == [None]
