"""Runs the files of this layer that import Locust: see tests/patched.py."""

import pytest

from tests.patched import PATCHED, demand_passed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", [file for file in PATCHED if file.startswith("system/")])
def test_a_file_that_imports_locust_passes_in_a_process_of_its_own(file: str) -> None:
    demand_passed([file])
