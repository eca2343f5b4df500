"""Test what `loadgen capacity` refuses, and which options a resumed search keeps."""

import dataclasses
import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.capacity import conduct
from loadgen.capacity.conduct import Request
from loadgen.cli import capacity
from loadgen.cli.app import app
from loadgen.run.options import ENTRIES
from loadgen.scenario import ScenarioError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("comments",), "give a scenario and a goal"),
        (("comments", "--slo", "delivery.latency < 1ms"), "--slo: delivery.latency is many values"),
        (
            ("comments", "--slo", "delivery.lost == 0", "--from", "9", "--to", "3"),
            "--from 9 is not below --to 3",
        ),
        (("comments", "--slo", "delivery.lost == 0", "--precision", "5"), "such as 5%"),
        (("comments", "--slo", "delivery.lost == 0", "--budget", "5"), "without a unit"),
        (("comments", "--slo", "delivery.lost == 0", "--axis", "channels"), "needs --variable NAME"),
        (("--resume", "/nonexistent"), "has no capacity.json"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["capacity", *arguments])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert said in done.stderr


def test_a_search_that_is_continued_takes_no_permission_from_its_folder() -> None:
    """The folder may come from somebody else, so its contents must not permit anything."""
    kept = ("--target", "http://h/event", "--auth", "iam")
    permissions = (
        "--allow-remote",
        "--yes",
        "--allow-env",
        "SOME_NAME",
        "--allow-file",
        "/",
        "--allow-commands",
    )
    assert capacity._resumed((*permissions, *kept, *permissions)) == kept
    for other in (("--journal", "/x"), ("--web",), ("--target",), ("--results", "/x")):
        with pytest.raises((KeyError, StopIteration)):
            capacity._resumed(other)


def test_each_option_of_a_search_is_kept_or_asked_for_again() -> None:
    said = {"--target": "http://127.0.0.1:9/event", "--auth": "iam", "--profile": "p", "--region": "r"}
    said |= {"--api-key-env": "NAME", "--faults": "f.yaml", "--processes": "2"}
    words = [part for pair in said.items() for part in pair]
    assert capacity._resumed(tuple(words)) == tuple(words)
    options = set(inspect.signature(capacity.capacity).parameters)
    assert {name for name in options if name.startswith("allow")} <= set(capacity._PERMISSIONS)
    permissions = {name for name, entry in ENTRIES.items() if entry.option.permission}
    # The trials of a search run on this machine and hand over their rows as usual.
    assert permissions - {"spool_to"} <= set(capacity._PERMISSIONS)
    assert "spool_to" not in options
    assert options >= {*capacity._PERMISSIONS, *capacity._KEPT}


def test_a_search_keeps_the_options_of_its_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option that was given is kept, with its value."""
    kept: list[Request] = []

    def keep(request: Request, *_: object) -> None:
        kept.append(request)
        raise ScenarioError(["kept"])

    monkeypatch.setattr(conduct, "Search", keep)
    arguments = ["comments", "--slo", "delivery.lost == 0", "--results", str(tmp_path), "--processes", "2"]
    arguments += ["--auth", "iam", "--allow-remote", "--yes", "--allow-file", "-a b", "--allow-env", "A"]
    assert CliRunner().invoke(app, ["capacity", *arguments, "--allow-env", "B"]).exit_code == 2
    (request,) = kept
    assert request.options == (
        *("--auth", "iam", "--processes", "2", "--allow-remote", "--yes"),
        *("--allow-env", "A", "--allow-env", "B", "--allow-file", "-a b"),
    )


@pytest.mark.parametrize(
    "flags", [(), ("--allow-remote",), ("--allow-remote", "--yes"), ("--allow-env", "A")]
)
def test_the_target_of_a_search_is_found_among_its_flags(flags: tuple[str, ...]) -> None:
    plain = dict.fromkeys((field.name for field in dataclasses.fields(Request)), None)
    for options in ((*flags, "--target", "u"), ("--target", "u", *flags)):
        assert Request(**{**plain, "options": options}).target == "u"  # type: ignore[arg-type]
    assert Request(**{**plain, "options": flags}).target is None  # type: ignore[arg-type]
