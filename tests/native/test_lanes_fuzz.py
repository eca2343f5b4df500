"""Compare the lanes with the Python path on a fixed number of messages from a fixed seed (see `lanes_fuzz`).

``LOADGEN_FUZZ_FRAMES`` sets the number of messages, ``LOADGEN_FUZZ_SEED`` the seed.
"""

import os

import pytest

from loadgen import native
from tests.native.lanes_fuzz import run

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not native.available, reason="the native receive path was not built"),
]

MESSAGES = int(os.environ.get("LOADGEN_FUZZ_FRAMES", "40000")) // 2
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "31"))


def test_what_a_lane_takes_is_what_python_makes_of_it(capfd: pytest.CaptureFixture[str]) -> None:
    counts = run(MESSAGES, SEED)
    # Discard the messages that the Rust codec prints when it panics.
    capfd.readouterr()
    for name, count in counts.units.items():
        # Each kind of message reaches both paths: else the fuzz would not notice a lane that takes no messages.
        assert count / 50 < counts.rows[name] < count, name
        assert counts.rows[name] / 20 < counts.taken[name] < counts.rows[name], name
