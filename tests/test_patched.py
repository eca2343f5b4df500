"""Runs the files that import Locust, each in a process of its own: see `conftest.PATCHED`."""

import subprocess
import sys

import pytest

from tests.conftest import HERE, PATCHED, is_alone


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=[pytest.mark.alone] if is_alone(file) else []) for file in PATCHED]
)
def test_a_file_that_imports_locust_passes_in_a_process_of_its_own(file: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(HERE / file),
    ]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=590, check=False)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    # None is left out without a word.
    assert " passed" in done.stdout, done.stdout
