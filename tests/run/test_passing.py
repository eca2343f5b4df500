"""Test that every option of `loadgen run` is passed on to its child."""

import argparse
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from loadgen.cli import app as commands
from loadgen.cli import launch
from loadgen.cli.request import Request
from loadgen.run.options import add_options

#: What `loadgen run` says to its child by options of Locust's own, or keeps for itself.
OTHERS = {
    *("processes", "master", "expect_workers", "worker", "master_host", "master_port", "master_bind_host"),
    *("web", "web_port", "cloudwatch"),
}
#: A value for each kind of field that is not its default.
VALUES: dict[str, Any] = {
    "overrides": ["a.b=1", "--c=2"],
    "max_cost": 0.25,
    "workers_timeout": 7.5,
    "report": False,
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False)
    add_options(made)
    return made


def ours() -> list[argparse.Action]:
    return [action for action in parser()._actions if action.dest != "help"]


def request(**given: Any) -> Request:
    plain = {
        field.name: None
        for field in dataclasses.fields(Request)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    known = {
        "scenario": "comments",
        "results": Path("results"),
        "overrides": [],
        "processes": 1,
        "master": False,
    }
    known |= {"expect_workers": 1, "worker": False, "web": False, "master_host": "127.0.0.1"}
    return Request(**{**plain, **known, **given})


def parsed(asked: Request) -> argparse.Namespace:
    return parser().parse_known_args(launch._command(asked)[5:])[0]


def value_for(field: dataclasses.Field[Any], now: Any) -> Any:
    if field.name in VALUES:
        return VALUES[field.name]
    if isinstance(now, bool):
        return not now
    if "list[Path]" in str(field.type):
        return [Path("/a"), Path("/b")]
    if isinstance(now, list | tuple):
        return ["ONE", "TWO"]
    return Path("/some/path") if "Path" in str(field.type) else "-some value"


@pytest.mark.parametrize("field", dataclasses.fields(Request), ids=lambda field: field.name)
def test_what_the_command_line_says_the_child_is_told(field: dataclasses.Field[Any]) -> None:
    """Each field of a request changes what the child parses, to that value; one that does not is forgotten."""
    if field.name in OTHERS:
        return
    role = {"worker": True} if field.name == "weight" else {}
    plain = request(**role)
    given = value_for(field, getattr(plain, field.name))
    before, after = vars(parsed(plain)), vars(parsed(dataclasses.replace(plain, **{field.name: given})))
    changed = {name: after[name] for name in after if after[name] != before[name]}
    assert len(changed) == 1, f"{field.name} changes {changed}"
    (value,) = changed.values()
    shown = [str(each) for each in given] if isinstance(given, list) else given
    assert str(value) == str(shown if field.name != "report" else True)


def test_every_option_of_the_child_can_be_said_by_loadgen_run() -> None:
    reached = set()
    for field in dataclasses.fields(Request):
        if field.name in OTHERS:
            continue
        for worker in (False, True):
            plain = request(worker=worker)
            given = dataclasses.replace(plain, **{field.name: value_for(field, getattr(plain, field.name))})
            before, after = vars(parsed(plain)), vars(parsed(given))
            reached |= {name for name in after if after[name] != before[name]}
    assert {action.dest for action in ours()} == reached


def test_every_option_of_loadgen_run_is_a_field_of_its_request() -> None:
    assert set(inspect.signature(commands.run).parameters) == {
        field.name for field in dataclasses.fields(Request)
    }


@pytest.mark.parametrize("name", ["allow_env", "allow_file", "allow_commands"])
def test_a_worker_and_a_master_are_told_what_they_may_use(name: str) -> None:
    (field,) = [each for each in dataclasses.fields(Request) if each.name == name]
    for worker in (False, True):
        plain = request(worker=worker)
        given = value_for(field, getattr(plain, name))
        assert getattr(parsed(dataclasses.replace(plain, **{name: given})), name) == (
            given if isinstance(given, bool) else [str(each) for each in given]
        )
