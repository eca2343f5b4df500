"""Test the message about a missing extra: it fits each way of installing and names no package index."""

import json
import re
import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from analysis import extras
from tests.paths import REPO

PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DECLARED: dict[str, list[str]] = PROJECT["optional-dependencies"]


class _Distribution:
    def __init__(self, direct_url: str | None) -> None:
        self._direct_url = direct_url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._direct_url


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that simulates a way of installing, and returns the arguments of the recommended command."""
    for name in (extras.IMAGE, "VIRTUAL_ENV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(metadata, "requires", lambda _name: ['scipy>=1.14; extra == "compare"', "rich>=13"])

    def come_from(said: object) -> list[str]:
        text = said if isinstance(said, str) or said is None else json.dumps(said)
        monkeypatch.setattr(metadata, "distribution", lambda _name: _Distribution(text))
        words = shlex.split(extras.command("compare"))
        return words[words.index("install") + 1 :]

    return come_from


def test_from_a_folder_a_wheel_or_a_repository_it_is_installed_from_there(
    installed: Any, tmp_path: Path
) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    url = place.as_uri()
    assert installed({"url": url, "dir_info": {}}) == [f"{place}[compare]"]
    assert installed({"url": url, "dir_info": {"editable": True}}) == ["-e", f"{place}[compare]"]
    wheel = place / "fanout_loadgen-1-py3-none-any.whl"
    wheel.touch()
    assert installed({"url": wheel.as_uri(), "archive_info": {}}) == [f"{wheel}[compare]"]
    repository = {"url": "https://example.com/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}
    assert installed(repository) == ["fanout-loadgen[compare] @ git+https://example.com/x.git@abc"]


def test_in_the_checkout_it_is_a_dot(installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert installed({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}) == ["-e", ".[compare]"]


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "not json",
        "[]",
        {},
        {"url": 3},
        {"url": "file:///nowhere/that/is/x.whl"},
        {"url": "https://example.com/x.whl?token=secret", "archive_info": {}},
        {"url": "https://me:secret@example.com/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
    ],
)
def test_where_the_source_is_unknown_gone_or_secret_the_packages_are_named(
    installed: Any, said: object
) -> None:
    assert installed(said) == ["scipy>=1.14"]


@given(st.text(max_size=60))
def test_whatever_the_metadata_say_it_is_one_command(said: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "distribution", lambda _name: _Distribution(said))
        patch.setattr(metadata, "requires", lambda _name: None)
        assert "install" in shlex.split(extras.command("compare"))


def test_without_metadata_the_modules_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(metadata, "requires", missing)
    assert shlex.split(extras.command("verify"))[-2:] == ["duckdb", "scipy"]


def test_it_is_installed_with_what_the_environment_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert extras.installer() == f"{sys.executable} -m pip install"
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert extras.installer() == "pip install"
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)
    assert extras.installer() == f"uv pip install --python {sys.executable}"


def test_in_the_image_it_is_built_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(extras.IMAGE, "1")
    assert extras.sentence("compare", "loadgen ab") == (
        "loadgen ab needs the extra 'compare', which is not installed: build the image with it"
        " (--build-arg EXTRAS=aws,live,compare)"
    )


def test_each_import_of_an_extra_is_explained_and_no_other() -> None:
    for modules in extras.MODULES.values():
        for module in modules:
            said = extras.explained(ModuleNotFoundError("no", name=f"{module}.part"))
            assert said is not None
            assert "which is not installed" in said
    assert extras.explained(ModuleNotFoundError("no", name="numpy")) is None
    assert extras.explained(ImportError("no")) is None


def test_require_looks_for_every_module_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras.require("compare", "loadgen ab")
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(extras.ExtraMissingError, match=r"^loadgen ab needs the extra 'compare'") as caught:
        extras.require("compare", "loadgen ab")
    assert extras.explained(caught.value) == str(caught.value)


def test_the_table_says_what_pyproject_declares() -> None:
    """`extras.MODULES` has every extra, none of its modules is installed by default, and `all` has all packages."""
    owners = metadata.packages_distributions()
    default = {Requirement(line).name for line in PROJECT["dependencies"]}
    for extra, modules in extras.MODULES.items():
        names = {Requirement(line).name for line in DECLARED[extra]}
        assert not names & default
        assert set(DECLARED[extra]) <= set(DECLARED["all"])
        assert set(DECLARED[extra]) <= set(DECLARED["test"])
        for module in modules:
            of_module = {re.sub("[-_.]+", "-", owner).lower() for owner in owners[module]}
            # One module may belong to several packages, such as OpenTelemetry's: one of them must be declared.
            assert of_module & names, module
    assert set(DECLARED) - set(extras.MODULES) == {"all", "dev", "docs", "mutation", "test"}


def test_the_installed_metadata_name_the_packages() -> None:
    """This tests the metadata of this environment: run `make setup` after each change of pyproject.toml."""
    assert sorted(extras.requirements("compare")) == sorted(DECLARED["compare"])
