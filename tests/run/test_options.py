"""Test the table of options: the parsers of `loadgen run` and of Locust have exactly these options.

The Locust process must read the values that the user typed for `loadgen run`.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from locust.argument_parser import get_parser
from typer.testing import CliRunner

from loadgen.cli import launch
from loadgen.cli.app import app
from loadgen.paths import bundle
from loadgen.run import start_locust
from loadgen.run.locust_options import OF_LOCUST, add_options
from loadgen.run.option import AbortOn, Progress, Reader
from loadgen.run.options import ENTRIES, Entry, RunOptions

#: Options that the harness adds to Locust's command line.
OURS = list(OF_LOCUST.values())
#: The commands of `loadgen`, made once, because making them takes longer than parsing a command line.
COMMANDS: click.Group = typer.main.get_command(app)  # type: ignore[assignment]
#: Any text that can be a word of a command line: spaces, leading dashes, quotes, line breaks, non-ASCII.
TEXTS = st.one_of(
    st.sampled_from(["-some value", "--set=a=b", "-", "a=b=c", "a b", '"', "'x'", "%s", "{x}", "@f", "é☃"]),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20),
).filter(lambda text: text != "--")
VALUES: dict[type, st.SearchStrategy[Any]] = {
    str: TEXTS,
    Path: TEXTS.map(Path),
    bool: st.booleans(),
    float: st.floats(1, 1e9),
    int: st.integers(1, 256),
    Progress: st.sampled_from(Progress),
    AbortOn: st.sampled_from(AbortOn),
}


def locust_parser() -> argparse.ArgumentParser:
    """Return Locust's own parser with the harness's options added."""
    parser: argparse.ArgumentParser = get_parser()
    add_options(parser)
    return parser


LOCUST = locust_parser()


def values(entry: Entry) -> st.SearchStrategy[Any]:
    each = VALUES[entry.type]
    return st.lists(each, min_size=1, max_size=3) if entry.repeatable else each


def typed(entry: Entry, value: Any) -> list[str]:
    """Return the words that a user types after `loadgen run` to give an option a value."""
    if entry.type is bool:
        return [entry.flag] if value else [f"--no-{entry.name}"] if entry.option.negatable else []
    if entry.option.argument:
        return ["--", str(value)]
    return [f"{entry.flag}={each}" for each in (value if entry.repeatable else [value])]


def asked(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> RunOptions:
    """Return the options with which `loadgen run` would begin a run."""
    found: list[RunOptions] = []

    def keep(options: RunOptions) -> int:
        found.append(options)
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(launch, "run", keep)
        assert COMMANDS.main(["run", *words], prog_name="loadgen", standalone_mode=False) == 0
    return found[0]


def parsed(options: RunOptions) -> dict[str, Any]:
    """Return what the child process parses from its command line for these options."""
    arguments = launch._command(options, [bundle("locustfile.py")])
    with_locust_file = arguments[arguments.index("-f") :]
    found: argparse.Namespace = start_locust._parse_known_args(LOCUST, with_locust_file)[0]
    return vars(found)


def of_locust(entry: Entry, value: Any) -> Any:
    """Return a value as the child parses it: a path becomes text, and `--no-report` is the opposite of `report`."""
    if entry.type is Path:
        return [str(each) for each in value] if entry.repeatable else str(value)
    return not value if entry.option.locust_opposite else value


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_what_the_user_types_is_what_the_child_reads(
    entry: Entry, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    """A typed value passes through the options of `loadgen run` and the child's command line unchanged."""
    value = data.draw(values(entry))
    # The scenario follows `--`, because it may begin with a dash.
    scenario = [] if entry.option.argument else ["--", "comments"]
    options = asked(monkeypatch, [*typed(entry, value), *scenario])
    assert getattr(options, entry.name) == value
    if not entry.of_locust:
        return
    for worker in (False, True):
        told = parsed(dataclasses.replace(options, worker=worker))
        reads = entry.option.reader in (Reader.BOTH, Reader.WORKER if worker else Reader.MASTER)
        expected = of_locust(entry, value) if reads else LOCUST.get_default(entry.locust_name)
        assert told[entry.locust_name] == expected


@pytest.mark.parametrize(
    "words", [["--", "--"], ["comments", "--auth=--"], ["x", "--set=a=1", "--set", "--"]]
)
def test_a_value_that_the_child_cannot_read_is_refused(words: list[str]) -> None:
    """Python 3.11's argparse drops `--` if it is an option's value, so `loadgen run` refuses it."""
    done = CliRunner().invoke(app, ["run", *words])
    assert done.exit_code == 2
    assert "'--' is not a value" in done.stderr


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_an_option_changes_nothing_else(entry: Entry) -> None:
    """Setting one option changes no parsed value of any other option."""
    others: dict[type, Any] = {
        str: "-some value",
        Path: Path("/a"),
        float: 7.5,
        int: 2,
        bool: not entry.default,
        Progress: Progress.PLAIN,
        AbortOn: AbortOn.RATE,
    }
    # These values must be valid, because Locust itself reads the options.
    of_locust_itself = {"run_time": "7s", "tags": "one", "exclude_tags": "one"}
    other = of_locust_itself.get(entry.name, others[entry.type])
    changes: dict[str, Any] = {entry.name: [other] if entry.repeatable else other}
    plain = RunOptions("comments", worker=entry.option.reader is Reader.WORKER)
    given = dataclasses.replace(plain, **changes)
    before, after = parsed(plain), parsed(given)
    changed = {name for name in OF_LOCUST if before[name] != after[name]}
    if entry.name == "worker":
        assert after["worker"]
    else:
        assert changed == ({entry.locust_name} if entry.of_locust else set())


def test_locusts_parser_has_the_options_of_the_table_and_no_other() -> None:
    bare = get_parser()
    known = {action.dest for action in bare._actions}
    added = {action.dest: action for action in LOCUST._actions if action.dest not in known}
    assert set(added) == {entry.locust_name for entry in OURS}
    for entry in OURS:
        # Plain Locust must have no option with the same flag.
        assert entry.locust_flag not in bare._option_string_actions
        assert added[entry.locust_name].option_strings == [entry.locust_flag]


def test_loadgen_run_has_the_options_of_the_table_and_no_other() -> None:
    found = {parameter.name: parameter for parameter in COMMANDS.commands["run"].params}
    assert set(found) == set(ENTRIES)
    assert list(ENTRIES) == [field.name for field in dataclasses.fields(RunOptions)]
    for entry in ENTRIES.values():
        options = found[entry.name].opts
        assert options == ([entry.name] if entry.option.argument else [entry.flag])


def test_a_default_is_the_same_for_whom_nothing_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, []) == RunOptions()
    bare = vars(LOCUST.parse_args([]))
    for entry in OURS:
        default = entry.option.locust_default or getattr(RunOptions(), entry.name)
        assert bare[entry.locust_name] == (default if default is None else of_locust(entry, default))


def test_the_help_names_each_variable_that_stands_in() -> None:
    for entry in ENTRIES.values():
        assert all(variable in entry.option.help for variable in entry.option.variables)
        assert entry.option.locust_help is None or entry.option.locust_help != entry.option.help


def test_a_worker_and_a_master_are_told_what_they_may_use() -> None:
    """Each process reads permissions from its own command line: the person who starts it gives them."""
    readers = {entry.flag: entry.option.reader for entry in ENTRIES.values() if entry.option.permission}
    assert readers == {
        "--allow-env": Reader.BOTH,
        "--allow-file": Reader.BOTH,
        "--allow-commands": Reader.BOTH,
        # On a master, `--allow-remote` permits a remote target. On a worker, it permits fetching the clients' tokens
        # from a remote host.
        "--allow-remote": Reader.BOTH,
        # A master stores nothing itself, and a worker only where its own command line says.
        "--spool-to": Reader.BOTH,
        # A worker loads only the files that its own command line names.
        "--allow-users": Reader.PARENT,
    }
