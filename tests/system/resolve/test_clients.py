"""Test that a plan does not depend on the process that makes it."""

import os
import subprocess
import sys

from tests.paths import REPO
from tests.resolve.test_clients import FINGERPRINT


def test_the_plan_is_the_same_in_another_process() -> None:
    code = "from tests.resolve.test_clients import fingerprint; print(fingerprint())"
    elsewhere = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        env={**os.environ, "PYTHONHASHSEED": "77"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert elsewhere.stdout.strip() == FINGERPRINT
