"""Test bad input: one clear sentence, the documented exit code, no traceback.

tests/cli/test_launch.py tests what the command itself refuses. These tests are about refusals by the Locust
process that it starts, and about messages of real processes.
"""

import socket
from pathlib import Path

import pytest

from tests.system.harness import SMALL, Finished, free_port, loadgen, overrides, start
from tests.system.service import Service
from tests.system.users.player import Played, Player

KEY = "da2-abcdefghijklmnopqrstuvwxyz"


def refused(code: int, sentence: str, finished: Finished | Played) -> None:
    assert finished.code == code, finished.said
    assert "Traceback" not in finished.said
    assert len(finished.sentences) == 1, finished.said
    assert sentence in finished.sentences[0]


def test_a_target_that_is_down(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/event"
    arguments = ["run", "comments", "--target", url, "--api-key-env", "K", "--results", str(tmp_path)]
    refused(4, "Connection refused; check the URL", loadgen(*arguments, env={"K": KEY}))


def test_a_misspelt_scenario() -> None:
    refused(2, "did you mean 'comments'?", loadgen("run", "coments"))


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(
    tmp_path: Path, service: Service, commands: Player
) -> None:
    arguments = ["run", "comments", "--target", service.url, "--api-key-env", "K", "--results", str(tmp_path)]
    finished = commands.command(tmp_path, "loadgen", *arguments, env={"K": KEY})
    assert finished.code == 4, finished.said
    assert "UnauthorizedException" in finished.err
    assert "check the api-key from $K" in finished.err
    assert KEY not in finished.said


def test_a_key_variable_that_is_not_set(tmp_path: Path, commands: Player) -> None:
    arguments = ["run", "comments", "--target", "http://127.0.0.1:1/event", "--api-key-env", "NOBODY_SET_ME"]
    finished = commands.command(tmp_path, "loadgen", *arguments, "--results", str(tmp_path))
    refused(2, "environment variable NOBODY_SET_ME is not set", finished)


def test_a_port_that_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        refused(2, "is taken by another program", loadgen("serve", "--port", port))


def test_a_results_folder_that_cannot_be_written(tmp_path: Path, commands: Player) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    finished = commands.command(tmp_path, "loadgen", "run", "comments", "--results", str(in_the_way))
    refused(2, f"the results folder {in_the_way} cannot be written", finished)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_more_connections_than_open_files_allowed(tmp_path: Path, processes: str, commands: Player) -> None:
    arguments = ["run", "comments", "--set", "clients.readers.count=5000", "--processes", processes]
    arguments += ["--results", str(tmp_path)]
    if processes == "1":
        finished: Finished | Played = commands.command(tmp_path, "loadgen", *arguments, open_files=1024)
    else:
        limited = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]
        finished = loadgen(*arguments, prefix=limited)
    refused(3, "only 1,024 are allowed", finished)


def test_a_login_without_a_target_is_a_mistake(tmp_path: Path, commands: Player) -> None:
    arguments = ("loadgen", "run", "comments", "--auth", "iam", "--results", str(tmp_path))
    refused(2, "--auth and --api-key-env go with --target", commands.command(tmp_path, *arguments))


def test_a_login_that_a_protocol_has_not(tmp_path: Path, commands: Player) -> None:
    target = ("--target", "mqtt://127.0.0.1:1", "--auth", "api-key:SOME_KEY", "--results", str(tmp_path))
    finished = commands.command(tmp_path, "loadgen", "run", "comments", *target, env={"SOME_KEY": KEY})
    refused(2, "one cannot log in to MQTT 5 by api-key", finished)


def test_faults_are_the_embedded_servers_and_must_be_readable(tmp_path: Path, commands: Player) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("drop: lots\n")
    arguments = ("loadgen", "run", "comments", "--results", str(tmp_path), "--faults", str(faults))
    refused(2, "faults.yaml:1: drop must be", commands.command(tmp_path, *arguments))
    target = ("--target", "http://127.0.0.1:9/event", "--api-key-env", "SOME_KEY")
    finished = commands.command(tmp_path, *arguments, *target, env={"SOME_KEY": KEY})
    refused(2, "are the embedded server's", finished)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--prometheus", "{taken}"), "--prometheus: cannot listen on 127.0.0.1 port {taken}"),
        (("--web", "--web-port", "{free}", "--prometheus", "{free}"), "port {free} is the web UI's"),
    ],
)
def test_a_display_that_cannot_be_had(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str, commands: Player
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {"taken": str(taken.getsockname()[1]), "free": str(free_port())}
        given = [argument.format(**ports) for argument in arguments]
        run = ("loadgen", "run", "comments", "--results", str(tmp_path), *given, *overrides(SMALL))
        finished = commands.command(tmp_path, *run)
    refused(2, sentence.format(**ports), finished)
    assert not list(tmp_path.glob("*/manifest.json"))


@pytest.mark.parametrize(
    ("allowed", "env", "says"),
    [
        (
            ("--allow-env", "ONLY_THE_MASTER_HAS_IT"),
            {},
            "the environment variable ONLY_THE_MASTER_HAS_IT is not set",
        ),
        (
            (),
            {"ONLY_THE_MASTER_HAS_IT": "one of its own"},
            "the master names the environment variable ONLY_THE_MASTER_HAS_IT, whose value would go to",
        ),
    ],
)
def test_a_worker_without_the_key_fails_the_run_at_once_with_its_own_sentence(
    tmp_path: Path,
    allowed: tuple[str, ...],
    env: dict[str, str],
    says: str,
    service: Service,
    commands: Player,
) -> None:
    port = str(free_port())
    worker = start("run", "comments", "--worker", "--master-port", port, *allowed, env=env)
    finished = commands.command(
        tmp_path,
        *("loadgen", "run", "comments", "--master", "--master-port", port, "--results", str(tmp_path)),
        *("--target", service.url, "--api-key-env", "ONLY_THE_MASTER_HAS_IT"),
        *overrides(SMALL),
        env={"ONLY_THE_MASTER_HAS_IT": service.key},
    )
    assert finished.code == 2, finished.said
    assert says in finished.err
    assert "Traceback" not in finished.said
    Finished(worker)
