"""Test that notes about a busy machine are printed only for a run that can begin, not for bad input."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from loadgen.credentials.allowed import Allowed
from loadgen.planning import room
from loadgen.run import target, target_check
from loadgen.run.locust import user_classes
from loadgen.run.locust.base import Settings
from loadgen.run.locust.local import LocalProcess
from loadgen.run.locust.preparation import Preparation
from loadgen.run.locust.this_process import ThisProcess

NOTE = "the machine is busy: tasks waited for a CPU in 90 % of the last 10 s"


class EndedError(Exception):
    """Raised instead of ending the process."""


@pytest.fixture(autouse=True)
def _busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "notes", lambda *_: iter([NOTE]))
    monkeypatch.setattr(user_classes, "restrict", lambda *_: None)


def end(code: int) -> NoReturn:
    raise EndedError(code)


def prepared(results: Path, more: Mapping[str, Any]) -> None:
    nothing = (
        "overrides target prices processes faults journal prometheus live_otel otel web_base_path allowed_hosts"
        " api_key_env auth aws_profile aws_region max_cost output"
    )
    options = {
        **dict.fromkeys(nothing.split()),
        "scenario": "comments",
        "results": str(results),
        "allow_remote": False,
        "yes": False,
        **more,
    }
    environment: Any = SimpleNamespace(web_ui=None, user_classes=[])
    settings = Settings(environment, SimpleNamespace(**options), {}, Allowed())
    LocalProcess(settings, ThisProcess(exit_now=end, children=list)).prepare()


@pytest.mark.parametrize("option", ["scenario", "overrides", "prices", "auth", "faults"])
def test_bad_input_is_one_sentence_on_a_busy_machine_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 3_000)
    value: Any = ["clients.readers.count=["] if option == "overrides" else str(path)
    more = {"target": "http://127.0.0.1:9/event"} if option == "auth" else {}
    with pytest.raises(EndedError):
        prepared(tmp_path, {option: value, **more})
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "busy" not in said[0]


def test_a_run_that_can_begin_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = target.Target("http://127.0.0.1:9/event", api_key="k")
    monkeypatch.setattr(Preparation, "_serve", lambda *_: found)
    monkeypatch.setattr(target_check, "check", lambda *_: None)
    prepared(tmp_path, {})
    assert capsys.readouterr().err.count(f"note: {NOTE}") == 1
