"""Test that the benchmarks' own receivers and publishers work, for a moment each; how fast they are is not tested."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S

RECEIVE = """
import json, sys
from pathlib import Path
from receive import receivers
from receive.measure import running
from receive.sender import Order

if __name__ == "__main__":
    receiver = {"ws": receivers.OURS, "wss": receivers.OURS_TLS}[sys.argv[1]]
    with running(receiver, 3, Path(sys.argv[2])) as one:
        one.send(Order(100.0, 2, 0.2))
        one.stop()
    print(json.dumps({"sent": one.sent, "received": one.received}))
"""
PUBLISH = """
import json, sys
from pathlib import Path
from speed.publish import PUBLISHERS, REAL, run_publisher

if __name__ == "__main__":
    (publisher,) = [one for one in PUBLISHERS if one.scheduled and one.word == sys.argv[1]]
    print(json.dumps(run_publisher(publisher, REAL, 100.0, 0.2, Path(sys.argv[2]))))
"""
CONNECT = """
import json, sys
from pathlib import Path
from speed import connect

if __name__ == "__main__":
    connect.FEW, connect.MANY, connect.AT_ONCE = 4, 12, 4
    kind = {"ws": connect.PLAIN, "wss": connect.TLS, "resumed": connect.RESUMED}[sys.argv[1]]
    print(json.dumps(connect.measured(connect.Client(connect.OURS, kind), None, Path(sys.argv[2]))))
"""


def figures_of(program: str, word: str, folder: Path) -> Any:
    """Run a program with the benchmarks on its path; return the JSON that it prints."""
    script = folder / "program.py"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, str(script), word, str(folder)],
        env={**os.environ, "PYTHONPATH": f"{REPO / 'benchmarks'}:{REPO}"},
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("word", ["ws", "wss"])
def test_our_receiver_records_all_that_its_sender_sends(word: str, tmp_path: Path) -> None:
    figures = figures_of(RECEIVE, word, tmp_path)
    assert figures["received"] == figures["sent"] > 0


@pytest.mark.parametrize("word", ["http", "websocket"])
def test_our_publisher_is_answered_for_all_that_it_sends(word: str, tmp_path: Path) -> None:
    figures = figures_of(PUBLISH, word, tmp_path)
    assert figures["accepted"] == figures["events"] > 0


@pytest.mark.parametrize("word", ["ws", "wss", "resumed"])
def test_our_users_connect_and_resume_sessions_where_that_is_measured(word: str, tmp_path: Path) -> None:
    figures = figures_of(CONNECT, word, tmp_path)
    assert figures["cpu_s"] > 0
    assert (figures["resumed"] > 0) == (word == "resumed")
