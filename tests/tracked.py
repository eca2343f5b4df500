"""List the files of the repository, for tests that read all of a kind."""

import subprocess

import pytest

from tests.paths import REPO


def tracked(*suffixes: str) -> list[str]:
    """Return the paths of all files with one of the suffixes, relative to the repository's root.

    Skips the calling test outside a clone, where there is no list of files.
    """
    done = subprocess.run(["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a clone: there is no list of files")
    return [name for name in done.stdout.splitlines() if name.endswith(suffixes) and (REPO / name).is_file()]
