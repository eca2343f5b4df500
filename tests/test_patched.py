"""Run the test files that import Locust: see patched.py."""

import pytest

from tests.patched import PATCHED, demand_passed


@pytest.mark.timeout(600)
@pytest.mark.long
def test_the_files_that_import_locust_pass_in_a_process_of_their_own() -> None:
    demand_passed(PATCHED)
