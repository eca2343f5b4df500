"""Test that workflows, issue forms and hooks are valid, and agree with the rest of the project."""

import importlib.resources
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

REPO = Path(__file__).resolve().parents[2]
SCHEMAS = {
    ".github/workflows/test.yml": "vendor.github-workflows",
    ".github/workflows/release.yml": "vendor.github-workflows",
    "docs/ci/workflow.yml": "vendor.github-workflows",
    ".github/ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    ".github/dependabot.yml": "vendor.dependabot",
    "action.yml": "vendor.github-actions",
}


def _read(path: str) -> Any:
    return YAML(typ="safe").load((REPO / path).read_text(encoding="utf-8"))


def _pyproject() -> Any:
    return tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))


def _problems(content: Any, schema: str) -> list[str]:
    """Validate ``content`` against a schema that the package check-jsonschema contains; return the errors."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    loaded = json.loads((folder / f"{schema.removeprefix('vendor.')}.json").read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(loaded)
    return [error.message for error in validator(loaded).iter_errors(content)]


def test_every_file_of_the_host_has_a_schema_here() -> None:
    there = {path.relative_to(REPO).as_posix() for path in (REPO / ".github").rglob("*.yml")}
    assert there == {path for path in SCHEMAS if path.startswith(".github/")}


@pytest.mark.parametrize("path", SCHEMAS)
def test_a_file_follows_its_schema(path: str) -> None:
    assert _problems(_read(path), SCHEMAS[path]) == []


@pytest.mark.parametrize("schema", sorted(set(SCHEMAS.values())))
def test_each_schema_refuses_what_is_wrong(schema: str) -> None:
    assert _problems({"jobs": {"test": {"steps": [{"uses": 3}]}}, "contact_links": 3}, schema) != []


@pytest.mark.parametrize("path", [".github/workflows/test.yml", ".github/workflows/release.yml"])
def test_workflows_pin_commits_and_permit_little(path: str) -> None:
    text, content = (REPO / path).read_text(encoding="utf-8"), _read(path)
    uses = re.findall(r"uses: (\S+)(.*)", text)
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
    assert content["permissions"] == {"contents": "read"}
    wider = {name for name, job in content["jobs"].items() if "permissions" in job}
    assert wider == ({"publish"} if "release" in path else set())
    for job in content["jobs"].values():
        assert job["timeout-minutes"] <= 60
        # The name of a tag or branch must not be expanded in a script, where it would be executed.
        assert not any("${{" in step.get("run", "") for step in job["steps"])


def test_only_the_job_that_publishes_proves_who_it_is() -> None:
    jobs = _read(".github/workflows/release.yml")["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert set(jobs["publish"]["needs"]) == {"sdist", "wheels"}
    assert not any("run" in step and "pip" in step["run"] for step in jobs["publish"]["steps"])


def test_the_pythons_of_matrix_classifiers_and_wheels_agree() -> None:
    tested = set(_read(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]["python"])
    named = {
        found[1]
        for line in _pyproject()["project"]["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    }
    built = {
        f"3.{found}" for found in re.findall(r"cp3(\d+)-", _pyproject()["tool"]["cibuildwheel"]["build"])
    }
    assert tested == named
    assert built == tested | {"3.14"}
    assert min(tested, key=lambda version: int(version[2:])) == "3.11"
    assert _pyproject()["project"]["requires-python"] == ">=3.11"


def test_a_release_never_builds_without_the_native_path_and_looks_into_each_wheel() -> None:
    settings = _pyproject()["tool"]["cibuildwheel"]
    assert settings["environment"] == {"LOADGEN_NATIVE": "require"}
    script = settings["test-command"].removeprefix("python {project}/")
    assert (REPO / script).is_file()
    assert "native.available" in (REPO / script).read_text(encoding="utf-8")


def test_hooks_run_what_is_pinned_and_fetch_nothing() -> None:
    config = _read(".pre-commit-config.yaml")
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    for hook in config["repos"][0]["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
