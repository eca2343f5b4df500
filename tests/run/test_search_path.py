"""Test the module search path function by function; `test_working_folder` tests whole processes."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import matplotlib as mpl
import pytest
from locust import argument_parser

from analysis import notebooks
from analysis.plots import style
from loadgen import search_path, subprocesses
from loadgen.exits import ExitCode, RunError
from loadgen.run import locust_settings
from loadgen.run.locust import install
from loadgen.run.locust_options import OF_LOCUST, add_options

if TYPE_CHECKING:
    from loadgen.run.locust.base import LocustProcess


@pytest.mark.parametrize("make", [subprocesses.environment, lambda: notebooks.environment({})])
def test_an_empty_or_relative_entry_of_pythonpath_goes_no_further(
    make: "object", monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in (":", "", ".", ":/named:", "lib:/named", "/named:."):
        monkeypatch.setenv("PYTHONPATH", given)
        entries = make()["PYTHONPATH"].split(os.pathsep)  # type: ignore[operator]
        assert all(Path(entry).is_absolute() for entry in entries), given
        assert entries[1:] == (["/named"] if "/named" in given else []), given


def in_a_process(code: str, cwd: Path, **environment: str) -> list[str]:
    """Return `sys.path` of a process after it has executed some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.path, sep='\\n')"],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


LEAVE_OUT = "from loadgen.search_path import leave_out_working_folder as leave\nleave()"


def test_the_working_directory_is_left_out_unless_it_is_named(tmp_path: Path) -> None:
    here = str(tmp_path)
    assert here not in in_a_process(LEAVE_OUT, tmp_path)
    assert "" not in in_a_process(LEAVE_OUT, tmp_path)
    assert here not in in_a_process(LEAVE_OUT, tmp_path, PYTHONPATH=":")
    assert here in in_a_process(LEAVE_OUT, tmp_path, PYTHONPATH=here)
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    assert not {here, str(link), ""} & set(in_a_process(LEAVE_OUT, link, PYTHONPATH=":", PWD=str(link)))


def test_a_checkout_that_is_not_installed_stays_importable_behind_the_libraries(tmp_path: Path) -> None:
    """With `python -m loadgen` in a checkout, the package is imported from the working directory."""
    (tmp_path / "loadgen").symlink_to(Path(subprocesses.__file__).parent)
    code = f"import sys\nsys.path[:0] = ['']\n{LEAVE_OUT}"
    path = in_a_process(code, tmp_path)
    assert path[-1] == search_path.PACKAGE_PARENT or search_path.PACKAGE_PARENT in path
    assert "" not in path


def test_a_deleted_working_directory_does_no_harm(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os\nos.rmdir({str(gone)!r})\n{LEAVE_OUT}"
    assert in_a_process(code, gone)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("locust.conf", "# target\n\n target = u\n", 3),
        ("locust.conf", "--target u\n", 1),
        ("locust.conf", "targets-of-others: 1\ntarget: u\n", 2),
        ("pyproject.toml", '[tool.other]\ntarget = "x"\n[tool.locust]\nloglevel = "INFO"\ntarget = "u"\n', 5),
        ("pyproject.toml", '[tool.locust]\n"target" = "u"\n', 2),
    ],
)
def test_the_file_and_line_of_an_option_are_told(name: str, text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    parser = argument_parser.get_empty_argument_parser(default_config_files=[str(file)])
    add_options(parser)
    parser.parse_known_args([])
    assert locust_settings.places(parser)["target"] == f"{file}:{line}"
    parser.parse_known_args(["--target", "v"])
    assert "target" not in locust_settings.places(parser)


#: The options that permit something, with values as a user would write them in a configuration file.
PERMITTED = {
    "--allow-remote": "true",
    "--allow-commands": "true",
    "--allow-env": "[SOME_SECRET]",
    "--allow-file": "[/]",
    "--spool-to": "/srv/rows",
}


@pytest.mark.parametrize("option", PERMITTED)
def test_no_permission_is_taken_from_a_file(option: str, tmp_path: Path) -> None:
    file = tmp_path / "locust.conf"
    file.write_text(f"target = u\n{option.removeprefix('--')} = {PERMITTED[option]}\n")
    parser = argument_parser.get_empty_argument_parser(default_config_files=[str(file)])
    add_options(parser)
    parser.parse_known_args([])

    def stop(said: str, code: ExitCode) -> None:
        raise RunError(said, code)

    settings = SimpleNamespace(places=locust_settings.places(parser))
    process = SimpleNamespace(settings=settings, is_forked=True, stop_process=stop)
    with pytest.raises(RunError) as refused:
        install._tell_places(cast("LocustProcess", process))
    assert str(refused.value) == f"{option} stands in {file}:2: it counts only on the command line"
    assert refused.value.code == ExitCode.USAGE


def test_every_permission_is_tried_in_a_file() -> None:
    assert {entry.locust_flag for entry in OF_LOCUST.values() if entry.option.permission} == set(PERMITTED)


def test_an_option_of_a_file_is_told_by_its_name_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "locust.conf"
    file.write_text("set = [a=1]\nallowed-host = [h]\naws-profile = p\nno-report = true\nweb-port = 9\n")
    parser = argument_parser.get_empty_argument_parser(default_config_files=[str(file)])
    argument_parser.setup_parser_arguments(parser)  # type: ignore[no-untyped-call]  # Locust's has no types
    add_options(parser)
    parser.parse_known_args([])
    settings = SimpleNamespace(places=locust_settings.places(parser))
    install._tell_places(cast("LocustProcess", SimpleNamespace(settings=settings, is_forked=False)))
    said = capsys.readouterr().err.splitlines()
    names = {"--set": 1, "--allowed-host": 2, "--aws-profile": 3, "--no-report": 4, "--web-port": 5}
    assert sorted(said) == sorted(
        f"loadgen: note: {name} stands in {file}:{line}, not on the command line"
        for name, line in names.items()
    )


def test_a_variable_of_locusts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUST_MODE_WORKER", "true")
    parser = argument_parser.get_empty_argument_parser(default_config_files=[])
    argument_parser.setup_parser_arguments(parser)  # type: ignore[no-untyped-call]  # Locust's has no types
    parser.parse_known_args([])
    assert locust_settings.places(parser)["worker"] == "the environment variable LOCUST_MODE_WORKER"


def test_a_matplotlibrc_of_the_working_directory_changes_no_plot() -> None:
    with mpl.rc_context({"text.usetex": True, "svg.fonttype": "none", "figure.dpi": 7.0}):
        with style.styled():
            assert (mpl.rcParams["text.usetex"], mpl.rcParams["svg.fonttype"]) == (False, "path")
            assert mpl.rcParams["figure.dpi"] == mpl.rcParamsDefault["figure.dpi"]
        assert mpl.rcParams["text.usetex"] is True
