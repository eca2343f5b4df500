"""Test that a run is resolved once: by `loadgen run` for its processes, or by plain Locust's master."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from analysis.record.folders import runs_in
from tests.paths import REPO
from tests.system.harness import SMALL, STUCK_S, overrides, read

#: Code that each Python process of a run executes at its start. It notes each call of the two functions in WATCHED, and
#: each import of pydantic and ruamel.yaml.
_WATCH = """
    import importlib.machinery, json, os, sys

    WATCHED = {"loadgen.resolve.resolver": "resolve", "loadgen.run.handover": "received"}

    class Finder:
        @staticmethod
        def note(what):
            with open(os.environ["NOTES"], "a") as notes:
                notes.write(json.dumps({"call": what, "pid": os.getpid()}) + "\\n")

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name in ("pydantic", "ruamel.yaml"):
                Finder.note(name)
            if name not in WATCHED:
                return None
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            load, function = spec.loader.exec_module, WATCHED[name]

            def exec_module(module):
                load(module)
                inner = getattr(module, function)

                def noted(*args, **kwargs):
                    Finder.note(function)
                    return inner(*args, **kwargs)

                setattr(module, function, noted)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)
"""


def watched(tmp_path: Path, *arguments: str) -> tuple[list[dict[str, object]], Path]:
    """Run Python with these arguments; return the recorded calls of the watched functions, and the run's folder."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(dedent(_WATCH))
    notes = tmp_path / "notes"
    notes.touch()
    done = subprocess.run(
        [
            sys.executable,
            *arguments,
            "--results",
            str(tmp_path / "results"),
            "--no-report",
            *overrides(SMALL),
        ],
        cwd=REPO,
        env={**os.environ, "NOTES": str(notes), "PYTHONPATH": f"{tmp_path / 'watch'}{os.pathsep}{REPO}"},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    folders = runs_in(tmp_path / "results")
    assert len(folders) == 1, done.stderr
    return [json.loads(line) for line in notes.read_text().splitlines()], folders[0]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_loadgen_run_resolves_and_its_locust_does_not(tmp_path: Path, processes: str) -> None:
    calls, folder = watched(tmp_path, "-m", "loadgen", "run", "comments", "--processes", processes)
    resolving = [call["pid"] for call in calls if call["call"] == "resolve"]
    assert len(resolving) == 1
    (receiving,) = [call["pid"] for call in calls if call["call"] == "received"]
    assert receiving != resolving[0]
    # A process that plays a resolved run must not load packages that read YAML files.
    reading = {call["pid"] for call in calls if call["call"] in ("pydantic", "ruamel.yaml")}
    assert resolving[0] in reading
    assert receiving not in reading
    manifest = read(folder / "manifest.json")
    assert manifest["scenario"]["clients"]["readers"]["count"] == 40
    assert len(manifest["workers"]) == int(processes)
    assert sum(worker["clients"] for worker in manifest["workers"]) == 43


@pytest.mark.parametrize("processes", [(), ("--processes", "2")])
def test_plain_locust_resolves_in_its_master(tmp_path: Path, processes: tuple[str, ...]) -> None:
    calls, folder = watched(
        tmp_path, "-m", "locust", "-f", "locustfile.py", "--headless", "--scenario", "comments", *processes
    )
    assert len([call for call in calls if call["call"] == "resolve"]) == 1
    assert read(folder / "manifest.json")["scenario"]["clients"]["readers"]["count"] == 40
