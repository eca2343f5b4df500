"""Test that files named in documentation, commands and comments exist."""

import re
import subprocess

import pytest

from tests.paths import REPO

#: Folders whose files are named by path; files of `loadgen` and `analysis` are named as modules instead.
FOLDERS = "tests|benchmarks|docs"
#: Files of another project, ClockBound.
ELSEWHERE = {"docs/PROTOCOL.md"}
NAMED = re.compile(
    rf"(?<![\w./<-])(?:\.\./)*((?:{FOLDERS})/[\w./-]*\w\.(?:py|md|mjs|yaml|yml|toml|json|sh))(?![\w*{{<])"
)
#: Suffixes of the files that are searched for names: pages and sources.
READ = (".md", ".py", ".c", ".h", ".toml", ".yml", ".yaml")


def tracked() -> list[str]:
    """Return the paths of all files in the repository, relative to its root."""
    done = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a clone: there is no list of files")
    return [name for name in done.stdout.splitlines() if name.endswith(READ) and (REPO / name).is_file()]


def test_what_is_named_is_there() -> None:
    named = {
        (name, found)
        for name in tracked()
        if name != "CHANGELOG.md" and not name.startswith("results/sample/")
        for found in NAMED.findall((REPO / name).read_text())
    }
    assert len(named) > 100
    assert (
        sorted(
            (name, found) for name, found in named if found not in ELSEWHERE and not (REPO / found).exists()
        )
        == []
    )
