"""What cannot work: one clear sentence, the documented exit code, no traceback."""

import socket
from pathlib import Path

import pytest

from loadgen.server.process import ServerProcess
from tests.paths import REPO
from tests.system.harness import SMALL, Finished, free_port, loadgen, overrides, start

KEY = "da2-abcdefghijklmnopqrstuvwxyz"


def refused(code: int, sentence: str, *arguments: str, **kwargs: object) -> None:
    finished = loadgen(*arguments, **kwargs)  # type: ignore[arg-type]
    assert finished.code == code, finished.said
    assert "Traceback" not in finished.said
    assert len(finished.sentences) == 1, finished.said
    assert sentence in finished.sentences[0]


def test_a_target_that_is_down(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/event"
    arguments = ["run", "comments", "--target", url, "--api-key-env", "K", "--results", str(tmp_path)]
    refused(4, "Connection refused; check the URL", *arguments, env={"K": KEY})


def test_a_wrong_key_is_named_by_its_variable_and_never_shown(tmp_path: Path) -> None:
    with ServerProcess() as server:
        url = server.announcement.http_url
        arguments = ["run", "comments", "--target", url, "--api-key-env", "K", "--results", str(tmp_path)]
        finished = loadgen(*arguments, env={"K": KEY})
        assert finished.code == 4, finished.said
        assert "UnauthorizedException" in finished.err
        assert "check the api-key from $K" in finished.err
        assert KEY not in finished.said


def test_a_key_variable_that_is_not_set(tmp_path: Path) -> None:
    arguments = ["run", "comments", "--target", "http://127.0.0.1:1/event", "--api-key-env", "NOBODY_SET_ME"]
    refused(2, "environment variable NOBODY_SET_ME is not set", *arguments, "--results", str(tmp_path))


def test_a_port_that_is_taken() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        refused(2, "is taken by another program", "serve", "--port", str(holder.getsockname()[1]))


def test_a_results_folder_that_cannot_be_written(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    refused(
        2,
        f"the results folder {in_the_way} cannot be written",
        "run",
        "comments",
        "--results",
        str(in_the_way),
    )


@pytest.mark.parametrize("processes", ["1", "2"])
def test_more_connections_than_open_files_allowed(tmp_path: Path, processes: str) -> None:
    limited = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"]
    arguments = ["run", "comments", "--set", "clients.readers.count=5000", "--processes", processes]
    refused(3, "only 1,024 are allowed", *arguments, "--results", str(tmp_path), prefix=limited)


def test_a_misspelt_scenario() -> None:
    refused(2, "did you mean 'comments'?", "run", "coments")


def test_a_mistake_in_a_scenario_is_told_with_file_and_line(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.yaml"
    text = (REPO / "scenarios" / "comments.yaml").read_text()
    lines = text.replace("measure: 20s", "measure: 20").splitlines()
    scenario.write_text("\n".join(lines))
    number = next(number for number, line in enumerate(lines, 1) if "measure: 20" in line)
    refused(2, f"mine.yaml:{number}: phases.measure is 20 without a unit", "run", str(scenario))


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
            {"ONLY_THE_MASTER_HAS_IT": KEY},
            "the master names the environment variable ONLY_THE_MASTER_HAS_IT, whose value would go to",
        ),
    ],
)
def test_a_worker_without_the_key_fails_the_run_at_once_with_its_own_sentence(
    tmp_path: Path, allowed: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    port = str(free_port())
    with ServerProcess(api_key=KEY) as server:
        worker = start("run", "comments", "--worker", "--master-port", port, *allowed, env=env)
        finished = loadgen(
            *("run", "comments", "--master", "--master-port", port, "--results", str(tmp_path)),
            *("--target", server.announcement.http_url, "--api-key-env", "ONLY_THE_MASTER_HAS_IT"),
            *overrides(SMALL),
            env={"ONLY_THE_MASTER_HAS_IT": KEY},
        )
    assert finished.code == 2, finished.said
    assert says in finished.err
    assert "Traceback" not in finished.said
    Finished(worker)
