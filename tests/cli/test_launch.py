"""Test what `loadgen run` refuses before it starts a process.

tests/system/run/test_refusals.py tests with a real process that a refusal is one line on standard error, and
tests the refusals of the child process.
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen import subprocesses
from loadgen.cli.app import app
from loadgen.exits import ExitCode
from loadgen.protocol_file import text_at
from tests.paths import REPO
from tests.run.test_remote import REMOTE, SAID


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was to be started")

    monkeypatch.setattr(subprocesses, "Supervised", start)


def lines(result: Result) -> list[str]:
    """Return the lines on standard error of a command that was refused."""
    assert result.exit_code == ExitCode.USAGE, (result.output, result.exception)
    assert result.stdout == ""
    return [line for line in result.stderr.splitlines() if line]


def refusal(*arguments: str) -> str:
    (line,) = lines(CliRunner().invoke(app, list(arguments)))
    return line


def test_a_misspelt_scenario() -> None:
    assert "did you mean 'comments'?" in refusal("run", "coments")


def test_a_mistake_in_a_scenario_is_told_with_file_and_line(tmp_path: Path) -> None:
    scenario = tmp_path / "mine.yaml"
    text = (REPO / "scenarios" / "comments.yaml").read_text()
    found = text.replace("measure: 20s", "measure: 20").splitlines()
    scenario.write_text("\n".join(found))
    number = next(number for number, line in enumerate(found, 1) if "measure: 20" in line)
    said = refusal("run", str(scenario))
    assert f"mine.yaml:{number}: phases.measure is 20 without a unit" in said


GATED = """version: 1
clients:
  readers: {{count: 10, subscribe: "/default/*"}}
  writers: {{count: 1, publish: {{channel: /default/a, rate: 50/s}}}}
phases: {{warmup: 300ms, measure: 2s, drain: 1s}}
gates:
  - {gate}
"""


@pytest.mark.parametrize(
    ("gate", "sentence"),
    [
        (
            "delivery.latncy.p99 < 1s",
            "gated.yaml:7: gates.0 cannot be: there is no metric 'delivery.latncy.p99'",
        ),
        ("{check: delivery.loss == 0, over: 5s, abort_early: true}", "goes with delivery.latency only"),
        ("{check: delivery.latency.p99 < 1s, abort_early: true}", "has abort_early without a window"),
        (
            "{check: delivery.latency.p99 < 1s, ovr: 5s}",
            "gates.0.ovr is not a known key; did you mean 'over'?",
        ),
    ],
)
def test_a_mistake_in_a_gate(gate: str, sentence: str, tmp_path: Path) -> None:
    scenario = tmp_path / "gated.yaml"
    scenario.write_text(GATED.format(gate=gate))
    assert sentence in refusal("run", str(scenario), "--results", str(tmp_path / "results"))


def test_mistakes_in_a_protocol_file_are_a_sentence_each_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        text_at("nats+ws://h").replace("{channel} {bytes}", "{chanel} {bytes}").replace("errors:", "erors:")
    )
    said = lines(CliRunner().invoke(app, ["run", "chat", "--target", f"{file}+ws://127.0.0.1:9"]))
    assert len(said) == 2, said
    assert all(line.startswith(f"loadgen: {file}:") for line in said)
    assert "publish.websocket.send has the placeholder {chanel}, which is none here" in said[0] + said[1]
    assert "erors is not a known key; did you mean 'errors'?" in said[0] + said[1]


#: Channels can be set only if the scenario has no variables.
_CHANNEL = ("--set", "variables={}", "--set", "clients.commenters.publish.channel=/a/b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--set", "clients.readers.subscribe=['/a/*', '/a/b']", *_CHANNEL),
            "clients.readers.subscribe: client 0 of the group would subscribe to both '/a/*' and '/a/b', which overlap",
        ),
        (
            ("--set", "clients.readers.subscribe=/a/+/b", *_CHANNEL),
            "has a '+': of MQTT's wildcards only '#'",
        ),
        (("--max-cost", "1"), "no prices of MQTT 5 are known"),
    ],
)
def test_what_no_broker_can_be_asked(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    target = ("--target", "mqtt://127.0.0.1:1", "--results", str(tmp_path))
    assert said in refusal("run", "comments", *target, *arguments)


def test_metrics_of_a_worker_are_refused(tmp_path: Path) -> None:
    said = refusal("run", "comments", "--results", str(tmp_path), "--worker", "--prometheus", "9464")
    assert "--prometheus and --otel are the master's" in said


def test_a_run_whose_estimate_passes_its_limit_does_not_start(tmp_path: Path) -> None:
    said = refusal("run", "comments", "--max-cost", "0.1", "--results", str(tmp_path))
    assert "is estimated at $0.17 on AWS, more than --max-cost $0.10: it is not started" in said
    assert not list(tmp_path.iterdir())


def test_a_dear_run_against_a_real_target_must_be_confirmed() -> None:
    real = ("--target", "https://api.invalid/event", "--api-key-env", "HOME", "--allow-remote")
    said = refusal("run", "comments", *real, "--set", "phases.measure=10m")
    assert "and there is no terminal to ask: confirm it with --yes" in said


def test_no_load_leaves_this_machine_unless_somebody_has_said_so(tmp_path: Path) -> None:
    said = refusal("run", "comments", *REMOTE, "--results", str(tmp_path / "results"))
    assert said == f"loadgen: {SAID}"
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("role", [(), ("--worker",), ("--master",)])
def test_a_place_for_rows_that_is_none_or_holds_a_secret(role: tuple[str, ...]) -> None:
    run = ("run", *role) if role == ("--worker",) else ("run", "comments", *role)
    assert "--spool-to: the path is not absolute" in refusal(*run, "--spool-to", "rows")
    assert "--spool-to: ftp: is no place" in refusal(*run, "--spool-to", "ftp://host/rows")
    said = refusal(*run, "--spool-to", "s3://AKIA:hunter2@bucket/rows")
    assert "credentials come from the environment" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    "command", [("report", "x"), ("verify", "x"), ("fetch", "x"), ("baseline", "x", "y")]
)
def test_a_place_to_read_rows_from_that_is_none(command: tuple[str, ...]) -> None:
    said = refusal(*command, "--parts-from", "s3://b?token=hunter2")
    assert "--parts-from: " in said
    assert "hunter2" not in said


def test_a_folder_without_a_run_has_no_rows_to_fetch(tmp_path: Path) -> None:
    assert "is not a run's folder" in refusal("fetch", str(tmp_path))
