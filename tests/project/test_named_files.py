"""Test that files named in documentation, commands and comments exist."""

import re
import subprocess

import pytest

from tests.paths import REPO

#: The folders whose files are named by their path; those of `loadgen` and `analysis` are named as modules.
FOLDERS = "tests|benchmarks|docs"
#: In another project's repository: ClockBound's.
ELSEWHERE = {"docs/PROTOCOL.md"}
NAMED = re.compile(
    rf"(?<![\w./<-])(?:\.\./)*((?:{FOLDERS})/[\w./-]*\w\.(?:py|md|mjs|yaml|yml|toml|json|sh))(?![\w*{{<])"
)
#: Read by people: pages and sources.
READ = (".md", ".py", ".c", ".h", ".toml", ".yml", ".yaml")


def tracked() -> list[str]:
    """Return the repository's files, by their path in it."""
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
